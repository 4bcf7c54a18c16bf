import type { LogLevel } from '../log.ts';
import { logLevels } from '../log.ts';
import type { AccessLog, Logging, LoggingState } from '../logging.ts';
import { accessLogs } from '../logging.ts';
import type { Page, PageRequest } from './page-server.ts';

const choices = { level: logLevels, accessLog: accessLogs } as const;

/** What is logged now. */
export function loggingPageOf(logging: Logging): Page {
  return { status: 200, body: logging.current() };
}

/** Changes what the query names, until the next start; a word that is not known changes nothing. */
export function loggingAction(logging: Logging, { query }: PageRequest): Page {
  const expected = `expected ${Object.entries(choices)
    .map(([name, words]) => `${name}=${words.join('|')}`)
    .join(' or ')}`;
  const refuse = (what: string): Page => ({ status: 400, body: `${what}, ${expected}\n` });
  const names = [...query.keys()];
  if (names.length === 0) return refuse('Nothing is to be changed');
  if (new Set(names).size !== names.length) return refuse('Something is to be changed twice');
  const change: { level?: LogLevel; accessLog?: AccessLog } = {};
  for (const [name, word] of query) {
    if (name === 'level' && isOneOf(logLevels, word)) change.level = word;
    else if (name === 'accessLog' && isOneOf(accessLogs, word)) change.accessLog = word;
    else return refuse(Object.hasOwn(choices, name) ? `This is no ${name}` : 'There is no such thing to change');
  }
  const before = logging.current();
  logging.set(change);
  const after: LoggingState = logging.current();
  return { status: 200, body: { before, after, until: 'the next start' } };
}

function isOneOf<T extends string>(words: readonly T[], word: string): word is T {
  return (words as readonly string[]).includes(word);
}
