import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';

/*
 * The objects that `kubectl apply -k` sends to a cluster, from golden files. test/integration/manifests/rendered.test.ts
 * sees to it that these are what the files in manifests/ make.
 */

export const manifests = resolve(import.meta.dirname, '../../manifests');
export const rendered = resolve(import.meta.dirname, '../golden/manifests');

export type RenderedName = 'install' | 'istio-label' | 'demo-kubernetes';

// biome-ignore lint/suspicious/noExplicitAny: a test looks into any place of an object
export type KubernetesObject = any;

export function renderedText(name: RenderedName): string {
  return readFileSync(join(rendered, `${name}.yaml`), 'utf8');
}

export function renderedObjects(name: RenderedName): readonly KubernetesObject[] {
  return parseAllDocuments(renderedText(name)).map((document) => document.toJS());
}

/** The one object of a kind, and of a name where a kind has several; names may end with a hash of the content. */
export function objectOf(objects: readonly KubernetesObject[], kind: string, name = ''): KubernetesObject {
  const found = objects.filter(({ kind: other, metadata }) => other === kind && metadata.name.startsWith(name));
  if (found.length !== 1) throw new Error(`Expected one ${kind} ${name}, found ${found.length}`);
  return found[0];
}

/** A file of manifests/install. */
export function installedFile(name: string): { readonly path: string; readonly text: string } {
  return { path: name, text: readFileSync(join(manifests, 'install', name), 'utf8') };
}
