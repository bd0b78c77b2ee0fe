// Runs the statements of the JSON array on standard input in a ClickHouse of its own, and
// prints a JSON array of what each answered.
const { Session } = require("chdb");

const session = new Session();
try {
  const answers = [];
  for (const statement of JSON.parse(require("fs").readFileSync(0, "utf8"))) {
    try {
      answers.push(session.query(statement, "JSONEachRow"));
    } catch (e) {
      throw new Error(`${e.message}\nin:\n${statement.slice(0, 2000)}`);
    }
  }
  process.stdout.write(JSON.stringify(answers));
} catch (e) {
  console.error(e.message);
  process.exitCode = 1;
} finally {
  session.close();
}
