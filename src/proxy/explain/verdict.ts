import type { ShownRefusal, ShownVerdict } from '../../explain-api.ts';
import type { Outcome } from '../account.ts';
import { outcomeOf } from '../account.ts';
import { wordsOf } from '../connection-line.ts';

/** An outcome with its words, as the log line of a real connection has them. */
export function refusalOf(outcome: Outcome): ShownRefusal {
  const { kind, reason, detail } = outcome;
  return { outcome: kind, reason, ...wordsOf(outcome), ...(detail !== undefined && { detail }) };
}

/** What a stage that failed would do to a real connection. */
export const refusalBy = (error: unknown): ShownRefusal => refusalOf(outcomeOf(error));

/** `subject` begins the sentence, such as `10.0.0.7:8080`. */
export function refused(subject: string, refusal: ShownRefusal): ShownVerdict {
  const { reason, happened, detail } = refusal;
  // Its words name every cause that there can be, and the detail the one that it is.
  const cause = reason === 'identity_expired' ? (detail ?? happened) : happened;
  return { kind: 'refused', sentence: `${subject} would be refused: ${cause}`, ...refusal };
}
