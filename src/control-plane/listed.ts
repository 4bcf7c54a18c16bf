/** As many names stand in one line of the log. */
export const maxListedNames = 20;

/** The first names as the field `field` of a line, and how many more there are as `more…`; nothing when there are none. */
export function listed(field: string, names: readonly string[]): Readonly<Record<string, readonly string[] | number>> {
  if (names.length === 0) return {};
  const more = names.length - maxListedNames;
  const moreField = `more${field.charAt(0).toUpperCase()}${field.slice(1)}`;
  return { [field]: names.slice(0, maxListedNames), ...(more > 0 && { [moreField]: more }) };
}
