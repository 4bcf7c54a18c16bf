import type { Path } from '../policy/finding.ts';

/** A place in a file, counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Something in a text that a person should know, where it stands. */
export interface Note {
  /** With a problem the object fails closed, or cannot be read at all. */
  readonly severity: 'problem' | 'warning';
  readonly position: Position;
  /** API version and kind of the object, `v1/Pod`; empty when it belongs to none. */
  readonly kind: string;
  /** `namespace/name` of the object, as far as that can be read; empty when it cannot. */
  readonly name: string;
  readonly path: Path;
  /** One sentence. */
  readonly why: string;
}

/** A note of a file. */
export type FileNote = Note & { readonly file: string };

/** `shop.yaml:3:7: AuthorizationPolicy shop/api: why`, as compilers write it. */
export function noteText({ file, position: { line, column }, kind, name, why }: FileNote): string {
  const subject = `${kind.slice(kind.lastIndexOf('/') + 1)} ${name}`.trim();
  return [`${file}:${line}:${column}`, ...(subject === '' ? [] : [subject]), why].join(': ');
}
