//! The CPU time of another process, user and system together, from `/proc`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::Result;

/// `USER_HZ`, the unit of `/proc/<pid>/stat`: 100 on every architecture that Rust's Linux targets run on today.
const TICK: Duration = Duration::from_millis(10);

/// What a process had used at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// By its living threads, to the nanosecond, where the kernel says so.
    fine: Option<Duration>,
    /// By all its threads that ever were, in ticks.
    coarse: Duration,
}

impl Used {
    /// What the process has used since it began.
    pub(crate) fn by(pid: u32) -> Result<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let stat = fs::read_to_string(proc.join("stat"))?;
        let coarse = ticks(&stat).ok_or("/proc/<pid>/stat does not read as proc(5) says")?;
        Ok(Self {
            fine: threads(&proc.join("task")).ok(),
            coarse: TICK * coarse,
        })
    }

    /// What was used since `before`: the fine count, unless threads ended and took their time with them.
    pub(crate) fn since(self, before: Self) -> Duration {
        let coarse = self.coarse.saturating_sub(before.coarse);
        let fine = match (self.fine, before.fine) {
            (Some(now), Some(before)) => now.checked_sub(before),
            _ => None,
        };
        let agrees = |fine: &Duration| fine.abs_diff(coarse) <= TICK * 2 + coarse / 50;
        fine.filter(agrees).unwrap_or(coarse)
    }
}

/// utime and stime, fields 14 and 15; the second field is a name in parentheses that may itself hold spaces.
fn ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    next()?.checked_add(next()?)
}

/// The first number of each thread's `schedstat` is the nanoseconds it ran.
fn threads(tasks: &Path) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(tasks)? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let ran = text.split_whitespace().next().and_then(|n| n.parse().ok());
        sum += Duration::from_nanos(ran.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(sum)
}
