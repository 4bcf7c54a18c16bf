/** Gets each URL in turn and prints one JSON line for each: status and body, or how it failed. `--post=TEXT` posts. */
const post = process.argv.find((argument) => argument.startsWith('--post='))?.slice('--post='.length);
for (const url of process.argv.slice(2).filter((argument) => !argument.startsWith('--'))) {
  const request = post === undefined ? {} : { method: 'POST', body: post, headers: { 'content-type': 'application/json' } };
  const line = await fetch(url, request).then(
    async (response) => ({ status: response.status, body: await response.text() }),
    (error) => ({ failed: error.cause?.code ?? error.message }),
  );
  console.log(JSON.stringify(line));
}
