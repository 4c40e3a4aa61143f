//! The page: one HTML file that needs nothing beside it.
//!
//! `page.html` is the frame, with a mark for each of its parts. The data stand in it as JSON, in a script element that
//! a browser does not run; the program reads them from there.

use super::CaseFile;
use serde::Serialize;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const PROGRAM: &str = include_str!("page.js");

/// What stands on a page.
#[derive(Serialize)]
struct Data<'a> {
    /// The line that runs it again.
    rerun: &'a str,
    /// The hash of the trace in hexadecimal: as a number it is larger than a browser's numbers are exact.
    trace_hash: String,
    #[serde(flatten)]
    case_file: &'a CaseFile,
}

/// The page of a run. `rerun` is the line that runs it again.
pub fn page(case_file: &CaseFile, rerun: &str) -> String {
    let data = serde_json::to_string(&Data {
        rerun,
        trace_hash: format!("{:016x}", case_file.report.trace),
        case_file,
    })
    .expect("a case file has a form in JSON");
    let title = format!("{} · seed {}", case_file.report.scenario, case_file.report.seed);
    let mut page = String::with_capacity(FRAME.len() + STYLE.len() + PROGRAM.len() + data.len());
    let parts = [
        ("{{title}}", text(&title)),
        ("{{style}}", STYLE.to_string()),
        ("{{data}}", in_script(&data)),
        ("{{program}}", PROGRAM.to_string()),
    ];
    // Each part is put in once, in its order, so that no part can hold the mark of another.
    let mut rest = FRAME;
    for (mark, part) in parts {
        let (before, after) = rest.split_once(mark).expect("the frame has a mark for each part");
        page.push_str(before);
        page.push_str(&part);
        rest = after;
    }
    page + rest
}

/// Text for HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// JSON for a script element: no value can end the element, or begin a comment in it, for neither has a `<`.
/// Source: HTML Standard, 4.12.1.3 "Restrictions for contents of script elements".
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::super::tests::small_case;
    use super::*;
    use serde_json::Value;

    /// The data of a page, read as a browser does: from the script's begin to the first end tag after it.
    fn data(page: &str) -> Value {
        let (_, after) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
        serde_json::from_str(after.split_once("</script").unwrap().0).unwrap()
    }

    #[test]
    fn the_page_holds_all_that_it_shows() {
        let page = page(&small_case(), "cargo xtask sim --seed 1");
        let data = data(&page);
        assert_eq!(data["rerun"], "cargo xtask sim --seed 1");
        assert_eq!(data["operations"].as_array().unwrap().len(), 2);
        assert_eq!(data["broken"][0]["order"]["core"], serde_json::json!([0, 1]));
        for id in
            ["verdict", "broken", "timeline", "nodes", "clients", "details", "filter", "legend", "zoom-in"]
        {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(!page.contains("{{"), "every part is in its place");
    }

    #[test]
    fn the_page_asks_nobody() {
        let page = page(&small_case(), "");
        for network in ["http://", "https://", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(network), "{network}");
        }
    }

    #[test]
    fn no_value_can_end_the_script() {
        let hostile = "</script><script>alert(1)</script><!-- {{program}} \u{2028}";
        let mut case_file = small_case();
        case_file.operations[0].told = hostile.to_string();
        case_file.report.scenario = hostile.to_string();
        let page = page(&case_file, hostile);
        let data = data(&page);
        assert_eq!(data["operations"][0]["told"], hostile);
        assert_eq!(data["rerun"], hostile);
        assert_eq!(page.matches("</script").count(), 2, "the data's and the program's");
        assert!(!page.contains("<script>alert"));
    }
}
