import { createBridge, createRoot } from '../../src/control-plane/authority.ts';
import type { RootSet } from '../../src/control-plane/root-set.ts';
import type { Write } from '../../src/control-plane/root-steps.ts';
import { abortWrites, addWrites, removeWrites, switchWrites } from '../../src/control-plane/root-steps.ts';

/** The writes of a step on the files of `folder`, which hold `roots`. */
export function rotationWrites(step: string, folder: string, { root, next }: RootSet): readonly Write[] {
  const nowMs = Date.now();
  switch (step) {
    case 'add':
      return addWrites(folder, createRoot('cluster.local', nowMs));
    case 'switch':
      return switchWrites(folder, root.certificate, createBridge(next!.certificate, root, nowMs));
    case 'remove':
      return removeWrites(folder);
    case 'abort':
      return abortWrites(folder);
    default:
      throw new TypeError(`there is no step '${step}'`);
  }
}
