import { readFileSync } from 'node:fs';

/** Ticks of user and system time in /proc/PID/stat: USER_HZ, which Linux shows as 100 everywhere. */
const ticksPerSecond = 100;

/** Seconds of user and system time that `pids` have used, with all their threads (proc(5), fields 14 and 15 of stat). */
export function cpuSeconds(pids: readonly number[]): number {
  return sum(pids.map(ticksOf)) / ticksPerSecond;
}

/** Bytes of RAM that `pids` hold, pages that they share counted for each (proc(5), VmRSS of status). */
export function residentBytes(pids: readonly number[]): number {
  return sum(
    pids.map((pid) => {
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
      return Number(kilobytes) * 1024;
    }),
  );
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program stands in parentheses and may hold blanks and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
