// JSON.parse source text access (ECMA-262, 2026): Node.js 24 has it, TypeScript's libraries do not yet.
interface JSON {
  /** Stands for `text` when it is written. */
  rawJSON(text: string): object;
  parse(
    text: string,
    reviver: (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
}
