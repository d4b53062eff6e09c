// Reads {"tables": {"Name": "column:type, ..."}, "functions": {"Name": ["(parameters)", "body"]},
// "queries": {"name": text}} from standard input and tells, for each query, what the Kusto language
// service says of it in a workspace of those tables and functions:
// {"name": {"complaints": ["line:column severity code message <text>"], "columns": {"name": "type"}}}.
"use strict";
const fs = require("fs");
const home = "@kusto/language-service-next/";
// Both define globals, and the second needs the first.
require(home + "bridge.min.js");
require(home + "Kusto.Language.Bridge.min.js");
const { KustoCode, GlobalState, Symbols } = Kusto.Language;

const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const listed = (items) => Array.from({ length: items.Count }, (_, at) => items.getItem(at));
const members = [
  ...Object.entries(asked.tables).map(([name, columns]) =>
    Symbols.TableSymbol.From(`(${columns})`).WithName(name)),
  ...Object.entries(asked.functions).map(([name, [parameters, body]]) =>
    new Symbols.FunctionSymbol.$ctor16(name, parameters, `{\n${body}\n}`)),
];
const workspace = GlobalState.Default.WithDatabase(
  new Symbols.DatabaseSymbol.$ctor1("workspace", members));

function complaint(found, query) {
  const lines = query.slice(0, found.Start).split("\n");
  const place = `${lines.length}:${lines.at(-1).length + 1}`;
  const text = query.substr(found.Start, Math.min(found.Length, 80));
  return `${place} ${found.Severity} ${found.Code} ${found.Message} <${text}>`;
}

function checked(query) {
  const code = KustoCode.ParseAndAnalyze(query, workspace);
  const columns = code.ResultType && code.ResultType.Columns ? listed(code.ResultType.Columns) : [];
  return {
    complaints: listed(code.GetDiagnostics()).map((found) => complaint(found, query)),
    columns: Object.fromEntries(columns.map((one) => [one.Name, one.Type.Name])),
  };
}

const answers = Object.entries(asked.queries).map(([name, query]) => [name, checked(query)]);
process.stdout.write(JSON.stringify(Object.fromEntries(answers)));
