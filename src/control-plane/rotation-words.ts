import type { RotationStep } from './rotation-rules.ts';
import type { RotationStatus, StepReply } from './rotation-status.ts';
import { tableOf } from './text-table.ts';

/** What a person is told about a rotation of the root. */

type Listed = Pick<StepReply, 'obstacles' | 'more'>;

const phases = {
  add: 'one root, no rotation is under way',
  switch: 'the next root is trusted and issues nothing yet',
  remove: 'the switch is done, the previous root is still trusted',
} as const;
const places = {
  memory: 'in memory',
  files: 'in the state directory',
  given: 'in files that somebody else keeps',
} as const;

/** The roots as a table, what comes next, and whom that would break. */
export function statusText(status: RotationStatus): string {
  const { trustDomain, kept, roots, next } = status;
  const rows = roots.map(({ role, fingerprint, notBefore, notAfter, sidecars, peers }) => [
    role,
    fingerprint.slice(0, 16),
    dayOf(notBefore),
    dayOf(notAfter),
    String(sidecars),
    String(peers),
  ]);
  const table = tableOf([['role', 'fingerprint', 'valid from', 'valid to', 'sidecars', 'most peers'], ...rows]);
  const phase = phases[next.step as keyof typeof phases] ?? '';
  const isFree = next.obstacles.length === 0;
  const verdict = isFree ? 'nothing stands in its way' : `it is refused now, because of ${countOf(next)}:`;
  return [
    `Roots of ${trustDomain}, ${places[kept]}: ${phase}`,
    '',
    ...table,
    '',
    'sidecars have a certificate under the root that has not ended; most peers: under it that one sidecar reports',
    '',
    `Next: ${next.step}, ${verdict}`,
    ...obstacleLines(next),
    '',
  ].join('\n');
}

/** Why a step was not taken, a line for each sidecar. */
export function refusalText(step: RotationStep, reply: StepReply): string {
  if (reply.kind === 'impossible') return `${step} is not possible: ${reply.why ?? ''}`;
  const what = `${step} is refused because of ${countOf(reply)}; --force does it all the same, and breaks these:`;
  return [what, ...obstacleLines(reply)].join('\n');
}

const doneWords: Readonly<Record<RotationStep, string>> = {
  add: 'The next root is trusted from now on and issues nothing yet',
  switch: 'What was the next root issues from now on; the key of the previous one is gone',
  remove: 'The previous root is not trusted any more',
  abort: 'The next root and its key are gone',
};
const brokenWords: Readonly<Record<RotationStep, string>> = {
  add: '',
  switch: 'They refuse every certificate under it until they trust it',
  remove:
    'Handshakes with certificates under it fail and their connections are closed; whose CA file lacks the remaining root gets no certificate until it has it',
  abort: 'Handshakes with certificates under it fail and their connections are closed',
};

/** What was done, or is to be done, and what it breaks. */
export function doneText(step: RotationStep, reply: StepReply): string {
  const broken =
    reply.obstacles.length === 0
      ? []
      : [`Forced, because of ${countOf(reply)}:`, ...obstacleLines(reply), brokenWords[step]];
  const done =
    reply.kind === 'done'
      ? [doneWords[step]]
      : ['Somebody else keeps the files of the authority, so this is to be done by hand.'];
  return [...broken, ...done, ...reply.todo, '', statusText(reply.status)].join('\n');
}

function obstacleLines({ obstacles, more }: Listed): string[] {
  const lines = obstacles.map(({ who, why }) => `  ${who === null ? plain(why) : `${plain(who)} ${plain(why)}`}`);
  return more === 0 ? lines : [...lines, `  and ${more} more`];
}

function countOf({ obstacles, more }: Listed): string {
  const count = obstacles.length + more;
  return count === 1 ? 'one reason' : `${count} reasons`;
}

function dayOf(instant: string): string {
  return instant.slice(0, 10);
}

/** Names come from tokens: control characters of theirs do not reach the terminal. */
function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');
}
