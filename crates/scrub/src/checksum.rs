//! Check digits and ranges: what tells a number that means somebody from a number.
use std::net::{IpAddr, Ipv4Addr};

/// Luhn's check over the digits of a text.
pub fn luhn(text: &str) -> bool {
    let digits = text.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits.enumerate().map(|(i, d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    sum.is_multiple_of(10)
}

/// Whether the digits are a card number: a known issuer range, its length, and Luhn's check.
pub fn card(digits: &str) -> bool {
    let length = digits.len();
    let two: u32 = digits.get(..2).and_then(|d| d.parse().ok()).unwrap_or_default();
    let issuer = match two {
        40..=49 => matches!(length, 13 | 16 | 19),
        51..=55 | 22..=27 => length == 16,
        34 | 37 => length == 15,
        30 | 36 | 38 | 39 => (14..=19).contains(&length),
        35 => (15..=19).contains(&length),
        50 | 56..=69 => (12..=19).contains(&length),
        _ => false,
    };
    issuer && luhn(digits) && digits.bytes().any(|b| b != digits.as_bytes()[0])
}

/// Characters of an IBAN of a country (ISO 13616 registry).
pub fn iban_length(country: &str) -> Option<usize> {
    const LENGTHS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22\
        GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18\
        NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";
    LENGTHS
        .as_bytes()
        .chunks(4)
        .find(|entry| &entry[..2] == country.as_bytes())
        .map(|entry| usize::from((entry[2] - b'0') * 10 + entry[3] - b'0'))
}

/// The rest modulo 97 of an IBAN without blanks (ISO 7064).
pub fn mod97(iban: &str) -> u32 {
    let (head, body) = iban.split_at(4.min(iban.len()));
    body.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0, |rest, v| (rest * if v > 9 { 100 } else { 10 } + v) % 97)
}

/// Whether an area, group and serial were ever issued (not 000, 666 or 9xx; not 00; not 0000).
pub fn ssn(digits: &str) -> bool {
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or("0");
    digits.len() == 9 && !matches!(part(0, 3), "000" | "666") && !digits.starts_with('9') && part(3, 5) != "00" && part(5, 9) != "0000"
}

/// Whether an address can belong to somebody: not private, local, multicast, or kept for documentation.
pub fn public_ip(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => public_v4(v4),
        Ok(IpAddr::V6(v6)) => {
            let first = v6.segments()[0];
            let documentation = first == 0x2001 && v6.segments()[1] == 0xdb8;
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || documentation
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80)
        }
        Err(_) => false,
    }
}

fn public_v4(v4: Ipv4Addr) -> bool {
    let octets = v4.octets();
    !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation() || octets[0] == 0 || octets[0] >= 224)
}

#[cfg(test)]
mod tests {
    use super::{card, iban_length, luhn, mod97, public_ip, ssn};

    #[test]
    fn check_digits() {
        assert!(luhn("4111 1111 1111 1111") && !luhn("4111111111111112"));
        for good in ["4111111111111111", "378282246310005", "5555555555554444", "6011111111111117", "30569309025904", "3530111333300000"] {
            assert!(card(good), "{good}");
        }
        // Wrong check digit, no issuer, one digit repeated, a moment in milliseconds.
        for bad in ["4111111111111112", "1234567812345670", "0000000000000000", "1772565630000"] {
            assert!(!card(bad), "{bad}");
        }
        for good in ["GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"] {
            assert_eq!((mod97(good), iban_length(&good[..2])), (1, Some(good.len())), "{good}");
        }
        assert_ne!(mod97("DE89370400440532013001"), 1);
        assert_eq!(iban_length("ZZ"), None);
    }

    #[test]
    fn ranges() {
        assert!(ssn("536904399"));
        for bad in ["666123456", "000123456", "900123456", "123004567", "123450000", "12345678"] {
            assert!(!ssn(bad), "{bad}");
        }
        assert!(public_ip("8.8.8.8") && public_ip("2a00:1450:4001::1"));
        for kept in ["10.0.0.1", "192.168.1.1", "127.0.0.1", "203.0.113.9", "::1", "fe80::1", "2001:db8::1", "999.1.1.1", "1.2.3"] {
            assert!(!public_ip(kept), "{kept}");
        }
    }
}
