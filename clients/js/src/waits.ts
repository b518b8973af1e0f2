/** Waits, which no clock makes longer: they are counted by time that only goes forward, and are bounded. */

/** Seconds since some moment, whatever is done to the clock of the device. */
export type Ticks = () => number;
export type Timer = ReturnType<typeof setTimeout> | undefined;
/** Ends early, and without an error, when `signal` aborts. */
export type Sleep = (milliseconds: number, signal: AbortSignal) => Promise<void>;

/** No server's limit lasts longer than a day. */
export const LONGEST_WAIT_SECONDS = 86_400;
const LONGEST_TIMER_MILLISECONDS = 2 ** 31 - 1; // above, timers go off at once

export const monotonic: Ticks = () => performance.now() / 1000;

/** Sets no timer when the time is infinite. */
export function after(seconds: number, then: () => void): Timer {
  if (seconds === Number.POSITIVE_INFINITY) return undefined;
  return setTimeout(then, Math.min(seconds * 1000, LONGEST_TIMER_MILLISECONDS));
}

export const sleepFor: Sleep = (milliseconds, signal) =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const timer = after(milliseconds / 1000, wake);
    signal.addEventListener('abort', wake);
  });
