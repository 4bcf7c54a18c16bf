import type { Folder } from './folder.ts';
import type { Look, Mesh, Previewed } from './mesh.ts';

/** What the policies did while they were changed. */
export interface StoryFacts {
  /** How often legacy was answered under PERMISSIVE. */
  readonly legacyOkPermissive: number;
  /** How often under STRICT, once that was in force. */
  readonly legacyOkStrict: number;
  /** Whom the preview named before the switch. */
  readonly preview: readonly Previewed[];
  /** How often batch was answered before it was denied. */
  readonly batchOk: number;
  /** Connections that were open and that a changed policy does not permit. */
  readonly policyClosed: number;
}

export interface StoryParts {
  readonly mesh: Mesh;
  readonly folder: Pick<Folder, 'editRegistry' | 'addToRegistry'>;
  /** Shows the mesh under this sentence for so long, and until that is seen, and resolves with what was seen last. */
  show(sentence: string, forMs: number, isSeen?: (look: Look) => boolean): Promise<Look>;
}

/**
 * Changes the policies of a running mesh by changing files, one after the other: PERMISSIVE, the preview of STRICT, STRICT,
 * and one identity denied. The last part lasts for `lastMs`, those before it for `partMs` each.
 */
export async function tellStory(
  { mesh, folder, show }: StoryParts,
  partMs: number,
  lastMs: number,
): Promise<StoryFacts> {
  const permissive = await show(
    'PERMISSIVE: legacy, which has no sidecar, is answered in plaintext; its calls of 15008, without a certificate, never are',
    partMs,
  );
  const preview = await mesh.preview();
  // More than once, so that what legacy said last of itself is from then.
  const isRefused = ({ refusals }: Look) =>
    !mesh.isCaptured || refusals.some(({ reason, count }) => reason === mesh.requiredRefusal && count > 3);
  await folder.editRegistry('peer-authentication.yaml', (text) => text.replace('mode: PERMISSIVE', 'mode: STRICT'));
  const strict = await show(
    `${wordsOf(preview)}peer-authentication.yaml says STRICT now: legacy is refused`,
    partMs,
    isRefused,
  );
  await folder.addToRegistry('deny-batch.yaml');
  const denied = await show(
    'deny-batch.yaml was added: what batch had open is cut, and the long connection of web goes on',
    lastMs,
    ({ policyClosed, refusals }) =>
      policyClosed > strict.policyClosed && refusals.some(({ reason }) => reason === 'policy_deny'),
  );
  return {
    legacyOkPermissive: answered(permissive, 'legacy'),
    legacyOkStrict: answered(denied, 'legacy') - answered(strict, 'legacy'),
    preview,
    batchOk: answered(strict, 'batch'),
    policyClosed: denied.policyClosed,
  };
}

const answered = ({ clients }: Look, name: string) => clients[name]?.ok ?? 0;

function wordsOf(preview: readonly Previewed[]): string {
  const callers = preview.map(
    ({ caller, port, connections }) => `${caller} (${connections} connections to port ${port})`,
  );
  return callers.length === 0 ? '' : `The preview named ${callers.join(' and ')}; `;
}
