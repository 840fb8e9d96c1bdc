/** `synthetic config`: every setting, its value and where the value comes from. */
import type { Command } from "commander";
import { type Config, type SettingName, SETTINGS } from "../config.ts";
import type { Act } from "./program.ts";
import { renderTable } from "./table.ts";

/** What may be shown of a setting: of a secret only that it is there. */
function shown(config: Config, name: SettingName): string | number | boolean | string[] | null {
  if (name === "token") return config.token === null ? null : "(set)";
  return config[name];
}

export function defineConfig(program: Command, act: Act): void {
  program
    .command("config")
    .summary("show every setting and where its value comes from")
    .action(
      act(async (cli) => {
        const { terminal } = cli;
        const config = cli.config();
        const names = Object.keys(SETTINGS) as SettingName[];
        if (terminal.json) {
          return terminal.writeJson(
            Object.fromEntries(
              names.map((name) => [
                name,
                { value: shown(config, name), source: config.sources[name], env: SETTINGS[name].env },
              ]),
            ),
          );
        }
        const value = (name: SettingName): string => {
          const given = shown(config, name);
          return given === null || (Array.isArray(given) && given.length === 0) ? "-" : String(given);
        };
        await terminal.write(
          renderTable(
            names,
            [
              { title: "setting", text: (name) => name },
              { title: "value", text: value, min_columns: 12 },
              { title: "from", text: (name) => config.sources[name] },
              { title: "variable", text: (name) => SETTINGS[name].env },
            ],
            terminal.columns,
            terminal.style,
          ),
        );
        for (const warning of config.warnings) terminal.say(terminal.talk_style.yellow(warning));
      }),
    );
}
