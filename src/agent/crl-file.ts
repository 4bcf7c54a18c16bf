import { createHash } from 'node:crypto';
import { timestamp } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { CrlFile } from '../identity/crl.ts';
import { CrlError, readCrlFile } from '../identity/crl.ts';
import type { CrlsInForce, CrlTrust } from '../identity/crl-lists.ts';
import { takeCrls } from '../identity/crl-lists.ts';
import type { ReadFile } from './patient-reader.ts';

/** One file of revocation lists, as it was when it could be used last. Every answer is one sentence that names the file. */
export interface WatchedCrlFile {
  /** Reads the file again. What cannot be read changes nothing but `problem`. */
  read(): Promise<void>;
  /** The lists in force once those of this file are among them, as far as they may be. */
  putInForce(before: CrlsInForce, trust: CrlTrust): CrlsInForce;
  /** What is wrong with the file as it is. */
  problem(): string | undefined;
  /** Why its lists do not say who is revoked now: it never had any that count, or a newer one is due. */
  whyStale(inForce: CrlsInForce, nowMs: number): string | undefined;
}

export function watchedCrlFile(path: string, readFile: ReadFile): WatchedCrlFile {
  let digest = '';
  let parsed: CrlFile | CrlError = { crls: [], certificates: [] };
  let content = parsed;
  let readProblem: string | undefined;
  let judgeProblem: string | undefined;
  /** Of the lists that the file stands for; undefined before all that it held at one time were signed well. */
  let keys: readonly string[] | undefined;
  const naming = (why: string | undefined) => why && (why.startsWith(path) ? why : `${path}: ${why}`);
  return {
    async read() {
      try {
        const bytes = await readFile(path);
        const latest = createHash('sha256').update(bytes).digest('hex');
        if (latest !== digest) [digest, parsed] = [latest, parse(bytes)];
        if (parsed instanceof CrlError) throw parsed;
        content = parsed;
        readProblem = undefined;
      } catch (error) {
        readProblem = messageOf(error);
      }
    },
    putInForce(before, trust) {
      const { inForce, keys: taken, problems } = takeCrls(before, content, trust);
      if (content.crls.length > 0 && taken !== undefined) keys = taken;
      [judgeProblem] = problems;
      return inForce;
    },
    problem: () => naming(readProblem ?? judgeProblem),
    whyStale(inForce, nowMs) {
      if (keys === undefined) return naming(readProblem ?? judgeProblem ?? 'it was not read yet');
      const ends = keys.flatMap((key) => inForce.get(key)?.crl.nextUpdateMs ?? []);
      const endMs = Math.min(...ends);
      return endMs <= nowMs ? `${path}: a newer list was due at ${timestamp(endMs)}` : undefined;
    },
  };
}

function parse(bytes: Uint8Array): CrlFile | CrlError {
  try {
    return readCrlFile(bytes);
  } catch (error) {
    if (error instanceof CrlError) return error;
    throw error;
  }
}
