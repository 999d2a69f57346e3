// SPDX-License-Identifier: Apache-2.0
//! A trace as JSON, for programs: docs/USES.md says what each field is. Fields are added, never renamed or removed.

use std::collections::HashMap;

use thunk::trace::{Command, Disposition, Observed, Status, Touch, Trace};

use crate::json::Json;
use crate::show::disposition;

/// All of it.
pub fn trace(trace: &Trace) -> Json {
    let count = |what| trace.commands.iter().filter(|c| c.disposition == what).count() as u64;
    let observed: HashMap<u32, &Observed> = trace.observed.iter().map(|o| (o.id, o)).collect();
    let mut fields = vec![
        ("cwd", Json::from(trace.cwd.as_os_str())),
        ("argv", Json::list(trace.argv.iter().map(|a| a.as_os_str()))),
        ("startedMicroseconds", Json::Number(trace.started_us)),
        ("deferred", Json::Number(count(Disposition::Deferred))),
        ("declined", Json::Number(count(Disposition::Declined))),
        ("ran", Json::Number(count(Disposition::Ran))),
    ];
    if let Some((code, us)) = trace.end {
        fields.push(("exitCode", Json::Number(u64::from(code.unsigned_abs()))));
        fields.push(("microseconds", Json::Number(us)));
    }
    let of = |c: &Command| command(c, observed.get(&c.id).copied());
    fields.push(("commands", Json::List(trace.commands.iter().map(of).collect())));
    if let Some(standing) = &trace.standing {
        let standing = standing.iter().map(|(path, output)| {
            Json::Object(vec![
                ("path", Json::from(path.as_os_str())),
                ("thunk", Json::Text(output.thunk.to_string())),
                ("output", output.output.as_ref().map_or(Json::Null, |path| Json::from(path.as_os_str()))),
            ])
        });
        fields.push(("standing", Json::List(standing.collect())));
    }
    Json::Object(fields)
}

fn command(command: &Command, observed: Option<&Observed>) -> Json {
    let mut fields = vec![
        ("id", Json::Number(command.id.into())),
        ("parent", Json::Number(command.parent.into())),
        ("cwd", Json::from(command.cwd.as_os_str())),
        ("program", Json::from(command.program.as_os_str())),
        ("argv", Json::list(command.argv.iter().map(|a| a.as_os_str()))),
        ("kind", Json::Text(command.kind.clone())),
        ("disposition", Json::Text(disposition(command.disposition).into())),
        ("reason", Json::Text(command.reason.clone())),
        ("thunk", Json::Text(command.thunk.map(|t| t.to_string()).unwrap_or_default())),
        ("outputs", Json::list(command.outputs.iter().map(|o| o.as_os_str()))),
        ("atMicroseconds", Json::Number(command.at_us)),
        ("tookMicroseconds", Json::Number(command.took_us)),
    ];
    if let Some(seen) = observed {
        fields.push(("observed", self::observed(seen)));
    }
    Json::Object(fields)
}

fn observed(observed: &Observed) -> Json {
    let status = match observed.status {
        Status::Unknown => ("exitCode", Json::Null),
        Status::Exited(code) => ("exitCode", Json::Number(code.into())),
        Status::Killed(signal) => ("signal", Json::Number(signal.into())),
    };
    Json::Object(vec![
        status,
        ("endedMicroseconds", Json::Number(observed.ended_us)),
        ("thunk", Json::Text(observed.thunk.map(|t| t.to_string()).unwrap_or_default())),
        ("obstacles", Json::list(observed.obstacles.iter().map(String::as_str))),
        ("descriptors", Json::list(observed.descriptors.iter().map(String::as_str))),
        ("touches", Json::List(observed.touches.iter().map(touch).collect())),
    ])
}

fn touch(touch: &Touch) -> Json {
    let mut fields =
        vec![("path", Json::from(touch.path.as_os_str())), ("uses", Json::list(touch.uses.words()))];
    for (name, value) in [("before", touch.before), ("after", touch.after)] {
        fields.extend(value.map(|value| (name, Json::Text(value.to_string()))));
    }
    Json::Object(fields)
}

#[cfg(test)]
mod tests {
    use thunk::trace::Uses;

    use super::*;

    #[test]
    fn a_command_that_ran_has_what_it_did() {
        let command = |id| Command {
            id,
            parent: 0,
            cwd: "/w".into(),
            argv: vec!["sed".into(), "s/\"/x/".into()],
            program: "/bin/sed".into(),
            kind: String::new(),
            disposition: Disposition::Ran,
            reason: String::new(),
            thunk: None,
            outputs: vec![],
            at_us: 1,
            took_us: 2,
        };
        let touch = Touch {
            path: std::path::Path::new("/w/a").into(),
            uses: Uses::READ,
            before: None,
            after: None,
            mode: None,
        };
        let seen = Observed {
            id: 1,
            status: Status::Killed(9),
            ended_us: 3,
            thunk: None,
            touches: vec![touch],
            obstacles: vec!["network".into()],
            descriptors: vec![],
        };
        let all = Trace { commands: vec![command(1), command(2)], observed: vec![seen], ..Trace::default() };
        let text = trace(&all).write(None);
        let seen = r#""observed":{"signal":9,"endedMicroseconds":3,"thunk":"","obstacles":["network"],"descriptors":[],"touches":[{"path":"/w/a","uses":["read"]}]}"#;
        assert_eq!(text.matches(seen).count(), 1, "{text}");
        assert_eq!(text.matches(r#""argv":["sed","s/\"/x/"]"#).count(), 2);
        assert!(!text.contains("exitCode"), "the recorder was killed");
    }
}
