//! HTML from the page's own pieces: what comes from elsewhere is escaped, and never looked at again.

/// Puts what `value` says in the place of each `{{name}}`; it says HTML.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut html = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").expect("each placeholder ends");
        html.push_str(&value(name));
        html.push_str(rest);
    }
    html
}

/// Text as it stands in HTML, between tags or in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// The piece of `page` in the template of that id.
pub(super) fn piece<'p>(page: &'p str, id: &str) -> &'p str {
    let start = format!("<template id=\"{id}\">");
    let (_, rest) = page.split_once(&start).expect("the page has the template");
    let (piece, _) = rest.split_once("</template>").expect("it ends");
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_placeholder_is_filled_once() {
        let value = |name: &str| {
            if name == "a" {
                "{{b}}".to_owned()
            } else {
                name.to_uppercase()
            }
        };
        assert_eq!(fill("<p>{{a}}</p>{{b}}", value), "<p>{{b}}</p>B");
        assert_eq!(fill("nothing", value), "nothing");
    }

    #[test]
    fn nothing_ends_its_place() {
        assert_eq!(
            escape(r#"</script><b a="x" b='y'>&amp;"#),
            "&lt;/script&gt;&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("8 × 5 · ä"), "8 × 5 · ä");
    }

    #[test]
    fn a_piece_is_what_its_template_holds() {
        let page = r#"<template id="a"><i></i></template><template id="b">x</template>"#;
        assert_eq!((piece(page, "a"), piece(page, "b")), ("<i></i>", "x"));
    }
}
