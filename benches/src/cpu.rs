//! The CPU time (user and system) of another process, from `/proc`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::Result;

/// The unit of `/proc/<pid>/stat`. `USER_HZ` is 100 on all of Rust's Linux targets.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of a process at one point in time.
#[derive(Clone, Copy)]
pub(crate) struct CpuTime {
    /// Of its live threads, in nanoseconds, if the kernel reports it.
    precise: Option<Duration>,
    /// Of all its threads, including ended ones, in ticks.
    ticks: Duration,
}

impl CpuTime {
    /// The CPU time of the process since its start.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let stat = fs::read_to_string(proc.join("stat"))?;
        let ticks = parse_ticks(&stat).ok_or("/proc/<pid>/stat has an unexpected format")?;
        Ok(Self {
            precise: thread_times(&proc.join("task")).ok(),
            ticks: TICK * ticks,
        })
    }

    /// The CPU time since `before`. It is the precise value, unless threads have ended meanwhile.
    pub(crate) fn since(self, before: Self) -> Duration {
        let ticks = self.ticks.saturating_sub(before.ticks);
        let precise = match (self.precise, before.precise) {
            (Some(now), Some(before)) => now.checked_sub(before),
            _ => None,
        };
        let agrees = |precise: &Duration| precise.abs_diff(ticks) <= TICK * 2 + ticks / 50;
        precise.filter(agrees).unwrap_or(ticks)
    }
}

/// utime and stime, fields 14 and 15. Field 2 is a name in parentheses, which may contain spaces.
fn parse_ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    next()?.checked_add(next()?)
}

/// The sum of the first number in each thread's `schedstat`: its CPU time in nanoseconds.
fn thread_times(tasks: &Path) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(tasks)? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let ran = text.split_whitespace().next().and_then(|n| n.parse().ok());
        sum += Duration::from_nanos(ran.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(sum)
}
