import type { Facts, Subject } from './facts.ts';
import type { Fingerprints } from './fingerprints.ts';
import { createFingerprints, mixed } from './fingerprints.ts';
import { readPattern } from './pattern.ts';
import type { Need } from './rule-places.ts';
import { isTurn } from './steps.ts';

/** A number of 32 bits for one step on the way to rules. Two steps may share one: keys say where to look, never what matches. */
export type Key = number;

export interface Keys {
  /** One of these is among those of a request whenever the need is met. Yields now and then. */
  toward(need: Need | undefined): Generator<void, readonly Key[]>;
  /** Those of a request for each step of a place. */
  of(facts: Facts): readonly (readonly Key[])[];
}

/** Toward rules that need nothing at a step. No port has this number. */
const anything: Key = 0x5bd1e995;

export function createKeys(): Keys {
  const fingerprints: Readonly<Record<Subject, Fingerprints>> = {
    principal: createFingerprints(1),
    serviceAccount: createFingerprints(2),
    namespace: createFingerprints(3),
    source: createFingerprints(4),
    destination: createFingerprints(5),
  };
  const absent = { principal: mixed(1, 0), serviceAccount: mixed(2, 0), namespace: mixed(3, 0), source: mixed(4, 0) };
  const about = (facts: Facts, ...subjects: readonly Exclude<Subject, 'destination'>[]) => {
    const keys = [anything];
    for (const subject of subjects) {
      const value = facts[subject];
      if (value === undefined) keys.push(absent[subject]);
      else for (const key of fingerprints[subject].matching(value)) keys.push(key);
    }
    return keys;
  };
  return {
    *toward(need) {
      if (need === undefined) return [anything];
      switch (need.kind) {
        case 'present':
          return [fingerprints[need.subject].add({ how: 'prefix', text: '' })];
        case 'absent':
          return [absent[need.subject]];
        case 'port':
          return need.some;
        case 'like': {
          const keys: Key[] = [];
          for (const text of need.some) {
            const pattern = readPattern(text, need.syntax);
            if (pattern !== undefined) keys.push(fingerprints[need.subject].add(pattern));
            if (isTurn(keys.length)) yield;
          }
          return keys;
        }
        default:
          return need satisfies never;
      }
    },
    of: (facts) => [
      about(facts, 'principal', 'serviceAccount', 'namespace'),
      [anything, facts.port],
      about(facts, 'source'),
      [anything, ...fingerprints.destination.matching(facts.destination)],
    ],
  };
}
