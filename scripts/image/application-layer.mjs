import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { workFolder } from './leftovers.mjs';
import { run } from './tool.mjs';

/** What a node keeps of Remora beyond the base that other images share; the promise of the documentation. */
export const largestLayerBytes = 5_000_000;

/** Bytes of the image's last layer with files, as a tar and as it travels. */
export function measureApplicationLayer(image) {
  const folder = workFolder();
  try {
    run('buildah', ['push', '--quiet', '--disable-compression', image, `dir:${folder.path}`]);
    const { layers } = JSON.parse(readFileSync(join(folder.path, 'manifest.json'), 'utf8'));
    const { digest, size } = layers.filter((layer) => layer.size > emptyLayerBytes).at(-1);
    const tar = readFileSync(join(folder.path, digest.replace('sha256:', '')));
    return { bytes: size, compressedBytes: gzipSync(tar).length };
  } finally {
    folder.remove();
  }
}

/** A tar with a folder or two; some builders make one for a step that changes only the image's settings. */
const emptyLayerBytes = 10 * 1024;
