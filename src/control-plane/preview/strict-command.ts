import { exitCodes, FailureError } from '../../errors.ts';
import type { Host } from '../../host.ts';
import { printableJson } from '../../printable.ts';
import { adminSocketOf, callAdmin } from '../admin-client.ts';
import { maxPreviewReplyBytes, previewPaths, previewTimeoutMs, strictPreview } from './api.ts';
import { isInTheWay, strictPreviewText } from './strict-text.ts';

export interface StrictPreviewOptions {
  readonly namespace?: string | undefined;
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly json?: boolean;
}

/**
 * What a control plane knows of a namespace, or of the whole mesh without one. Resolves with 0 when a switch to STRICT would
 * break nothing, and 1 when it would break something or is not known for some sidecar. Throws as `adminSocketOf` and `callAdmin`,
 * and `FailureError` for a namespace that nobody knows.
 */
export async function previewMesh(host: Host, { namespace, json, ...place }: StrictPreviewOptions): Promise<number> {
  const body = namespace === undefined ? {} : { namespace };
  const preview = await callAdmin(
    adminSocketOf(place),
    previewPaths.strict,
    strictPreview,
    body,
    maxPreviewReplyBytes,
    previewTimeoutMs,
  );
  if (preview.workloads.length === 0 && preview.notKnown.pods.length === 0)
    throw new FailureError(
      `This control plane knows no sidecar ${namespace === undefined ? 'at all' : `in the namespace ${namespace}`}, expected one with a certificate or in the registry`,
    );
  host.stdout.write(`${json ? printableJson(preview, 2) : strictPreviewText(preview).join('\n')}\n`);
  return isInTheWay(preview) ? exitCodes.failure : exitCodes.ok;
}
