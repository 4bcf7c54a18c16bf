import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { WatchFiles } from '../file-watch.ts';
import { followFiles } from '../file-watch.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import { openAuthorityDirectory } from './authority-directory.ts';
import { authorityFiles } from './authority-files.ts';
import type { RootSet } from './root-set.ts';
import { fingerprintOf, isSameRootSet, phaseOf, trustedRoots } from './root-set.ts';

/** The kubelet takes up to a minute to bring a changed Secret. */
export const authorityPollIntervalMs = 10_000;

export interface FollowAuthorityParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: Authority;
  adopt(roots: RootSet): Promise<void>;
  readonly watch?: WatchFiles | undefined;
}

/**
 * Reads the roots of a folder that somebody else keeps again when they change. What is bad, and a root that issues and was
 * not trusted before, is logged once, and the roots in use stay: a root that nobody knows would cut everybody off.
 */
export function followAuthority(parts: FollowAuthorityParts, directory: string): { close(): Promise<void> } {
  const { authority, adopt, clock, log } = parts;
  let lastFailure = '';
  const read = () => openAuthorityDirectory(directory, authority.trustDomain, clock.now());

  const look = async () => {
    const roots = await read();
    // Twice, because files that are replaced one after another, or all at once between two reads, are not a set yet.
    if (isSameRootSet(roots, authority.roots) || !isSameRootSet(roots, await read())) return;
    const issuing = fingerprintOf(roots.root.certificate);
    if (!trustedRoots(authority.roots).some((known) => fingerprintOf(known) === issuing)) {
      const { root, nextRoot } = authorityFiles;
      throw new Error(
        `${join(directory, root)} is a root that no sidecar trusts yet, expected it as ${nextRoot} first`,
      );
    }
    await adopt(roots);
    log.warn({ phase: phaseOf(roots), issuing, roots: trustedRoots(roots).map(fingerprintOf) }, 'Roots read again');
  };
  const paths = [join(directory, authorityFiles.root)];
  return followFiles({ clock, watch: parts.watch }, { paths, pollIntervalMs: authorityPollIntervalMs }, async () => {
    try {
      await look();
      lastFailure = '';
    } catch (error) {
      const why = messageOf(error);
      if (why !== lastFailure) log.error({ path: directory, why }, 'The roots cannot be read again, those in use stay');
      lastFailure = why;
    }
  });
}
