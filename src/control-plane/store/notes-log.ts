import type { Log } from '../../log.ts';
import type { FileNote } from './note.ts';
import { noteText } from './note.ts';

/** The most notes that one state of the registry writes to the log by name. */
export const maxNotesLogged = 50;

/** Logs what is wrong with objects of policy, each as long as it stands there once, with its place. */
export function createNotesLog(log: Log): (notes: readonly FileNote[]) => void {
  let known: ReadonlySet<string> = new Set();
  return (notes) => {
    const texts = new Map(notes.map((note) => [noteText(note), note]));
    const fresh = [...texts].filter(([text]) => !known.has(text));
    known = new Set(texts.keys());
    // Problems first: what fails closed must not be crowded out by what does not.
    const ordered = [...fresh.filter(isProblem), ...fresh.filter((one) => !isProblem(one))];
    for (const [text, { severity }] of ordered.slice(0, maxNotesLogged)) {
      if (severity === 'problem')
        log.error({ problem: text }, 'An object of policy cannot be followed, it fails closed');
      else log.warn({ warning: text }, 'An object of policy is not followed as it may be meant');
    }
    const others = ordered.length - maxNotesLogged;
    if (others > 0)
      log.warn({ others }, 'More objects of policy have problems or warnings, remora validate lists them');
  };
}

const isProblem = ([, { severity }]: readonly [string, FileNote]) => severity === 'problem';
