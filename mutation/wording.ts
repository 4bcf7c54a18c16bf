interface Literal {
  isStringLiteral(): boolean;
  readonly node: { readonly value?: unknown };
}

/** Leaves out what is said to a person: a plain text with a space in it. Reasons and other names have none. */
export const strykerPlugins = [
  {
    kind: 'Ignore',
    name: 'wording',
    value: {
      shouldIgnore(path: Literal): string | undefined {
        return path.isStringLiteral() && String(path.node.value).includes(' ') ? 'words for a person' : undefined;
      },
    },
  },
];
