//! Numbers and addresses as text, without the formatter: a few of them stand in every message, and it takes ten times as long.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

/// Digits.
pub(crate) fn number(out: &mut String, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"));
}

/// A port.
pub(crate) fn port(out: &mut String, port: u16) {
    number(out, port.into());
}

/// An address, IPv6 without brackets.
pub(crate) fn ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, byte) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push('.');
                }
                number(out, byte.into());
            }
        }
        // Writing into a String cannot fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// An address with its port, IPv6 in brackets.
pub fn address(out: &mut String, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            ip(out, (*v4.ip()).into());
            out.push(':');
            port(out, v4.port());
        }
        SocketAddr::V6(v6) => _ = write!(out, "{v6}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_the_formatter_does() {
        for text in ["0.0.0.0:0", "127.0.0.1:5060", "255.255.255.255:65535", "[::]:1", "[2001:db8::7]:5061"] {
            let socket: SocketAddr = text.parse().unwrap();
            let (mut whole, mut alone) = (String::new(), String::new());
            address(&mut whole, socket);
            ip(&mut alone, socket.ip());
            assert_eq!((whole, alone), (text.to_owned(), socket.ip().to_string()));
        }
        for value in [0, 9, 10, 1234567890, usize::MAX] {
            let mut out = String::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }
}
