import type { Document, DocumentOptions, LineCounter, ParseOptions, SchemaOptions } from 'yaml';
import { Composer, Lexer, Parser } from 'yaml';

/** Words of YAML that are read in one turn of the event loop: some milliseconds. */
export const wordsInOneTurn = 1000;

/**
 * The documents of a text as `parseAllDocuments` of the library has them, one after another; undefined wherever all else may go on
 * before the rest is read. What follows a document is not looked at before it is asked for.
 */
export function* documentsIn(
  text: string,
  options: ParseOptions & DocumentOptions & SchemaOptions & { readonly lineCounter: LineCounter },
): Generator<Document.Parsed | undefined> {
  const parser = new Parser(options.lineCounter.addNewLine);
  const composer = new Composer(options);
  options.lineCounter.addNewLine(0);
  let words = 0;
  for (const word of new Lexer().lex(text)) {
    for (const token of parser.next(word)) yield* composer.next(token);
    words += 1;
    if (words % wordsInOneTurn === 0) yield undefined;
  }
  for (const token of parser.end()) yield* composer.next(token);
  yield* composer.end();
}
