//! Parses lists of names and values in OpenTelemetry's variables.

/// Parses `name=value,name=value`, with percent-encoded values.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let members = text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    let pair = |member: &str| {
        let (name, value) = member.split_once('=')?;
        let name = name.trim();
        let value = decode(value.trim())?;
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    let pairs: Option<Vec<_>> = members.map(pair).collect();
    pairs.ok_or_else(|| {
        "is not a list of the form name=value,name=value with percent-encoded values".to_owned()
    })
}

/// Decodes percent-encoded UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = str::from_utf8(&digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}
