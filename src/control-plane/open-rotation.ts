import { messageOf } from '../errors.ts';
import type { AdminServer } from './admin-server.ts';
import { startAdminServer } from './admin-server.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { followAuthority } from './follow-authority.ts';
import type { MeshParts } from './mesh/calls.ts';
import { meshCalls } from './mesh/calls.ts';
import type { SelectionSettings } from './policy/select.ts';
import type { PreviewParts } from './preview/calls.ts';
import { previewCalls } from './preview/calls.ts';
import type { RootSet } from './root-set.ts';
import type { RotationParts } from './rotation.ts';
import { createRotation } from './rotation.ts';
import { rotationCalls } from './rotation-calls.ts';

export interface RotationSettings {
  /** Where to write the roots for sidecars, PEM. */
  readonly writeRoot?: string | undefined;
  /** Where the admin API is; undefined is nowhere. */
  readonly adminSocket?: string | undefined;
}

/**
 * Lets the root be rotated: by the admin API, and by a change of files that somebody else keeps. Writes the roots for sidecars
 * now and after each change. Throws as writing does and as `startAdminServer`.
 */
export async function openRotation(
  parts: Omit<RotationParts, 'adopt'> & MeshParts & PreviewParts,
  { writeRoot: rootFile, adminSocket, rootNamespace, trustDomain }: RotationSettings & SelectionSettings,
): Promise<AdminServer> {
  const { authority, clock, log, place } = parts;
  const writeRoot = async () => {
    if (rootFile !== undefined) await writeFileAtomically(rootFile, authority.rootPem, 0o644);
  };
  const adopt = async (roots: RootSet) => {
    authority.replaceRoots(roots);
    await writeRoot().catch((error: unknown) => log.error({ why: messageOf(error) }, 'The roots cannot be written'));
  };
  await writeRoot();
  await using opened = new AsyncDisposableStack();
  if (place.kind === 'given')
    opened.adopt(followAuthority({ clock, log, authority, adopt }, place.folder), (one) => one.close());
  const calls = new Map([
    ...rotationCalls(createRotation({ ...parts, adopt })),
    ...meshCalls(parts),
    ...previewCalls(parts, { rootNamespace, trustDomain }),
  ]);
  if (adminSocket !== undefined)
    opened.adopt(await startAdminServer({ clock, log }, calls, adminSocket), (one) => one.close());
  const all = opened.move();
  return { close: () => all.disposeAsync() };
}
