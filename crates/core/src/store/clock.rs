//! What time it surely is: whatever goes because time has passed goes by this clock, and not by the computer's.
//!
//! ```text
//!   the computer's clock   10:00  10:01  ┌─ 22:02  22:03 …  22:32   somebody set it, or it was wrong when the computer began
//!   time that passes       10:00  10:01  │  10:02  10:03 …  10:32   22:32
//!                                        └─ doubted for half an hour ─┘ believed
//! ```
//! A clock that is wrong for a while ends no window and no term of a snapshot. How much time passes is counted while the
//! process runs. It begins with the newest commit, or with the last collection if that was later. If the clock was doubted,
//! commits have the wrong time, and it begins where it stood before.
//!
//! A clock that is set back is believed at once, but what was collected does not come back with it: windows are counted from
//! the time by which the last collection went, until the clock is there again (`gone_by`).

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::error::Result;
use crate::ids::Time;
use crate::log::Metastore;

/// By how much a clock may be set forward, in microseconds, without anybody minding.
const STEP_MICROS: i64 = 5 * 60 * 1_000_000;

/// For how long a clock that went ahead must run on before it is believed, in microseconds.
const DOUBT_MICROS: i64 = 30 * 60 * 1_000_000;

/// The setting that holds [`Noted`].
const CLOCK_SETTING: &str = "clock";

/// Tells how far the time of day is to be believed.
pub struct Clock(Mutex<State>);

struct State {
    believed: Believed,
    doubt: Option<Doubt>,
    noted: Noted,
}

/// What must be known after a restart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// A time of day that was believed.
    believed: Time,
    /// What was committed since may have a time that was not.
    is_doubted: bool,
    /// The latest time by which anything went. A store that does not say so has noted it as believed.
    #[serde(default)]
    gone_by: Time,
}

/// A time of day, and how much time had passed then.
#[derive(Clone, Copy)]
struct Believed {
    time: Time,
    passed: i64,
}

/// A clock that is ahead of the time that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// By so many microseconds.
    pub ahead: i64,
    /// When it is believed if it runs on, by its own time.
    pub until: Time,
    /// How much time had passed when it was first seen so.
    since: i64,
}

impl Clock {
    /// Begins to look at a clock. `newest` is the time of the newest commit, if there is one.
    pub(crate) fn open(env: &Env, metastore: &dyn Metastore, newest: Option<Time>) -> Result<Clock> {
        let mut noted: Noted = match metastore.setting(CLOCK_SETTING)? {
            Some(text) => serde_json::from_str(&text)?,
            None => Noted::default(),
        };
        if noted.gone_by == Time(0) {
            noted.gone_by = noted.believed;
        }
        let newest = newest.filter(|_| !noted.is_doubted).unwrap_or_default();
        let time = match noted.believed.max(newest) {
            Time(0) => env.now(),
            time => time,
        };
        let believed = Believed { time, passed: env.passed() };
        Ok(Clock(Mutex::new(State { believed, doubt: None, noted })))
    }

    /// Returns the time of day, as far as it is to be believed, and why it is not if it is not.
    pub(crate) fn look(&self, env: &Env, metastore: &dyn Metastore) -> (Time, Option<Doubt>) {
        let mut state = self.0.lock();
        let (now, passed) = (env.now(), env.passed());
        let sure = state.believed.time.plus_micros(passed - state.believed.passed);
        let ahead = now.0.saturating_sub(sure.0);
        if ahead > STEP_MICROS {
            let begun = Doubt { ahead, until: now.plus_micros(DOUBT_MICROS), since: passed };
            // One that was set again is doubted anew.
            let doubt = state.doubt.filter(|doubt| (ahead - doubt.ahead).abs() <= STEP_MICROS).unwrap_or(begun);
            if passed - doubt.since < DOUBT_MICROS {
                if state.doubt.replace(doubt) != Some(doubt) {
                    tracing::warn!(
                        now = %now, sure = %sure, believed_at = %doubt.until,
                        "the clock is ahead of the time that has passed since it was believed last; nothing goes because of \
                         it until it has run on for half an hour: set it right if it is wrong"
                    );
                }
                state.note_doubt(metastore, sure, true);
                return (sure, Some(doubt));
            }
        }
        if state.doubt.take().is_some() {
            tracing::info!(now = %now, "the clock is believed");
        }
        state.note_doubt(metastore, now, false);
        state.believed = Believed { time: now, passed };
        (now, None)
    }

    /// Notes that something is about to go by a time, while another is believed: after a restart neither is earlier.
    pub(crate) fn goes_by(&self, metastore: &dyn Metastore, time: Time, believed: Time) -> Result<()> {
        let mut state = self.0.lock();
        let noted = Noted { believed, gone_by: state.noted.gone_by.max(time), ..state.noted };
        if noted == state.noted { Ok(()) } else { state.note(metastore, noted) }
    }

    /// Returns the latest time by which anything went: no window reaches further back than the one that ended then.
    pub(crate) fn gone_by(&self) -> Time {
        self.0.lock().noted.gone_by
    }
}

impl State {
    fn note(&mut self, metastore: &dyn Metastore, noted: Noted) -> Result<()> {
        metastore.put_setting(CLOCK_SETTING, &serde_json::to_string(&noted)?)?;
        self.noted = noted;
        Ok(())
    }

    /// Notes whether the clock is doubted. What cannot be written now is written when it is looked at again.
    fn note_doubt(&mut self, metastore: &dyn Metastore, believed: Time, is_doubted: bool) {
        if self.noted.is_doubted != is_doubted
            && let Err(error) = self.note(metastore, Noted { believed, is_doubted, ..self.noted })
        {
            tracing::debug!(%error, "whether the clock is doubted could not be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory::MemoryMetastore;

    const MINUTE: i64 = 60 * 1_000_000;
    const YEAR: i64 = 365 * 24 * 60 * MINUTE;
    const START: Time = Time(1_767_225_600_000_000);

    fn sure(clock: &Clock, env: &Env, metastore: &MemoryMetastore) -> i64 {
        (clock.look(env, metastore).0.0 - START.0) / MINUTE
    }

    #[test]
    fn a_clock_is_believed_when_it_has_run_on() {
        let (env, metastore) = (Env::fixed(START, 1), MemoryMetastore::new());
        let clock = Clock::open(&env, &metastore, None).unwrap();
        env.advance(100 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 100, "time that passes is time");
        env.jump(4 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 104, "clocks are set by a little");
        env.jump(50 * MINUTE);
        for passed in [0, 20] {
            env.advance(passed * MINUTE);
            assert_eq!(sure(&clock, &env, &metastore), 104 + passed);
        }
        let doubt = clock.look(&env, &metastore).1.unwrap();
        assert_eq!((doubt.ahead, doubt.until), (50 * MINUTE, START.plus_micros(184 * MINUTE)));
        env.jump(50 * MINUTE);
        env.advance(15 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 139, "it was set again");
        env.advance(30 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 269);
        env.jump(-200 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 69, "it goes back as it likes");
    }

    #[test]
    fn what_was_doubted_before_a_restart_is_doubted_after_it() {
        let (env, metastore) = (Env::fixed(START, 1), MemoryMetastore::new());
        env.jump(YEAR);
        let clock = Clock::open(&env, &metastore, Some(START)).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 0, "the computer began with a wrong clock");
        env.advance(20 * MINUTE);
        // What was committed meanwhile has the wrong time.
        let clock = Clock::open(&env, &metastore, Some(env.now())).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 0);
        env.advance(20 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 20);
        env.jump(-YEAR);
        assert_eq!(sure(&clock, &env, &metastore), 20, "what passed before the restart was not counted");
        env.advance(30 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 70);
        assert!(metastore.setting(CLOCK_SETTING).unwrap().unwrap().contains("false"));
        let clock = Clock::open(&env, &metastore, Some(env.now().plus_micros(YEAR))).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 70);
    }

    #[test]
    fn what_went_by_a_time_is_not_promised_again_after_a_restart() {
        let (env, metastore) = (Env::fixed(START, 1), MemoryMetastore::new());
        let clock = Clock::open(&env, &metastore, Some(START)).unwrap();
        env.advance(500 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 500, "nothing was committed, and time passed");
        clock.goes_by(&metastore, env.now(), env.now()).unwrap();
        env.jump(90 * MINUTE);
        let clock = Clock::open(&env, &metastore, Some(START)).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 500, "how long nothing ran is for the clock to say");
        env.advance(30 * MINUTE);
        assert_eq!(sure(&clock, &env, &metastore), 620);
    }

    /// What went by a clock that was ahead went by it; that clock is believed no sooner for it.
    #[test]
    fn a_clock_that_was_set_right_is_doubted_where_it_goes_ahead_again() {
        let (env, metastore) = (Env::fixed(START, 1), MemoryMetastore::new());
        let clock = Clock::open(&env, &metastore, Some(START)).unwrap();
        let ahead = START.plus_micros(YEAR);
        clock.goes_by(&metastore, ahead, ahead).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 0, "it was set right");
        clock.goes_by(&metastore, ahead, START).unwrap();
        env.jump(YEAR);
        let clock = Clock::open(&env, &metastore, Some(START)).unwrap();
        assert_eq!(sure(&clock, &env, &metastore), 0);
        assert_eq!(clock.gone_by(), ahead);
    }
}
