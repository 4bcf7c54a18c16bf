import { basename } from 'node:path';
import process from 'node:process';

/** The very npm that runs us, or the one on the PATH when a script is run by hand or by another package manager. */
export function npmCommand() {
  const script = process.env.npm_execpath;
  return /^npm(-cli)?\.[cm]?js$/.test(basename(script ?? '')) ? [process.execPath, script] : ['npm'];
}
