import { createBridge, trustDomainOf } from './authority.ts';
import { authorityFiles } from './authority-files.ts';
import type { RotationFacts, RotationStep } from './rotation-rules.ts';

/** What to change, all at once, in a folder of keys that somebody else keeps, so that it becomes what the step makes of it. */
export function byHand(step: RotationStep, folder: string, facts: RotationFacts): readonly string[] {
  const { certificate } = facts.roots.root;
  const first =
    step === 'add' ? [`Make the next root: remora authority ./next --trust-domain ${trustDomainOf(certificate)}`] : [];
  return [...first, `In ${folder}, all at once:`, ...changes(step, facts)];
}

function changes(step: RotationStep, { roots, nowMs }: RotationFacts): readonly string[] {
  const { root, rootKey, nextRoot, nextRootKey, previousRoot, bridge } = authorityFiles;
  switch (step) {
    case 'add':
      return [`Add ${nextRoot} and ${nextRootKey}: ./next/${root} and ./next/${rootKey}; the other file is not needed`];
    case 'switch':
      return [
        `Add ${previousRoot}: what ${root} is now`,
        `Replace ${root} and ${rootKey} by what ${nextRoot} and ${nextRootKey} are now, and remove these two`,
        `Add ${bridge}: this certificate, by which those who trust only the previous root believe the control plane`,
        ...(roots.next === undefined
          ? []
          : [createBridge(roots.next.certificate, roots.root, nowMs).toString().trim()]),
      ];
    case 'remove':
      return [`Remove ${previousRoot} and ${bridge}`];
    case 'abort':
      return [`Remove ${nextRoot} and ${nextRootKey}`];
    default:
      return step satisfies never;
  }
}
