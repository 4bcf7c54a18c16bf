// biome-ignore-all lint/plugin: declares what the files that may use node-forge import; it loads nothing
// biome-ignore-all lint/style/noDefaultExport: a CommonJS module is one default export

// The published types describe the whole library only. The program loads one of its files, so that the rest, RSA and a
// TLS stack of its own, never reaches a process.
declare module 'node-forge/lib/asn1.js' {
  export { asn1 as default } from 'node-forge';
}
