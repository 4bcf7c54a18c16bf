/** How much a JSON text may become when it is parsed: a few megabytes of brackets are a hundred of memory and a second of time. */
export interface ShapeLimits {
  /** Lists and mappings in one another. */
  readonly levels: number;
  /** Lists and mappings altogether. */
  readonly containers: number;
}

const code = (character: string) => character.charCodeAt(0);
const [quote, backslash] = [code('"'), code('\\')];
const [openList, closeList, openMapping, closeMapping] = [code('['), code(']'), code('{'), code('}')];

/** Whether the text stays within the limits, found without parsing it; of a text that is no JSON it says nothing. */
export function isWithinShape(text: Uint8Array, { levels, containers }: ShapeLimits): boolean {
  let level = 0;
  let count = 0;
  let isInText = false;
  for (let index = 0; index < text.length; index++) {
    const byte = text[index];
    if (isInText) {
      if (byte === backslash) index += 1;
      else if (byte === quote) isInText = false;
    } else if (byte === quote) {
      isInText = true;
    } else if (byte === openList || byte === openMapping) {
      level += 1;
      count += 1;
      if (level > levels || count > containers) return false;
    } else if (byte === closeList || byte === closeMapping) {
      level -= 1;
    }
  }
  return true;
}
