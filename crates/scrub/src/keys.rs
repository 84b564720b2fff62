//! What a JSON key says about its value. The cheapest recall there is, and no model is needed for it.
use std::collections::HashMap;

use crate::document::Document;
use crate::{Class, Error, Scrub};

/// Where in a chat body a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The skeleton of requests and messages: roles, ids and types are not looked at.
    Protocol,
    /// Tools and answer schemas: only secrets are replaced, a model has to see the rest as it is.
    Schema,
    /// Arguments, results, documents: keys speak.
    Data,
}

/// How a value is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Not looked at.
    Skip,
    /// Only secrets are replaced.
    Secrets,
    /// Searched; the key may name a class.
    Search(Option<Class>),
}

const NAMES: &str = "firstname givenname forename fname lastname surname familyname lname middlename fullname customername contactname \
    recipientname patientname passengername holdername cardholdername cardholder accountholder accountholdername ownername employeename personname \
    maidenname birthname guestname travelername travellername clientname buyername sellername membername sendername username_real nameoncard";
const PHONES: &str = "phone phonenumber phoneno telephone telephonenumber mobile mobilephone mobilenumber cell cellphone cellnumber fax faxnumber tel homephone \
    workphone contactnumber msisdn";
const STREETS: &str = "street streetaddress streetname street1 street2 address1 address2 addressline1 addressline2 addressline line1 line2 mailingaddress \
    homeaddress billingaddress shippingaddress deliveryaddress address";
const ZIPS: &str = "zip zipcode postalcode postcode postalzip";
const BIRTHS: &str = "dob dateofbirth birthdate birthday birthdt";
const SECRETS: &str = "password passwd pwd passphrase clientsecret apikey accesstoken refreshtoken authtoken idtoken sessiontoken authorization privatekey \
    secretkey secretaccesskey xapikey bearertoken";
const USERS: &str = "userid username login userlogin screenname";
const PEOPLE: &str = "user customer client person people passenger patient contact recipient sender employee guest member owner author holder traveler traveller buyer \
    seller subscriber applicant tenant student beneficiary payer payee signatory cardholder profile";
const BESIDE_A_NAME: &str =
    "email emailaddress phone phonenumber mobile dob dateofbirth birthdate ssn address street address1 firstname lastname zip zipcode";
/// Skeleton keys whose values are not text anybody wrote.
const SKELETON: &str =
    "id role type object model name toolcallid finishreason systemfingerprint servicetier stopreason callid index created logprobs";

/// Keys and their meaning.
#[derive(Debug)]
pub struct Keys {
    known: HashMap<String, Option<Class>>,
}

/// A key without case and separators.
pub fn plain(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn among(list: &str, key: &str) -> bool {
    list.split_ascii_whitespace().any(|entry| entry == key)
}

impl Keys {
    /// The built-in keys and the configured ones.
    pub fn new(scrub: &Scrub) -> Result<Self, Error> {
        let groups = [
            (NAMES, Class::Name),
            (PHONES, Class::Phone),
            (STREETS, Class::Street),
            (ZIPS, Class::Zip),
            (BIRTHS, Class::BirthDate),
            (SECRETS, Class::Password),
            ("ssn socialsecuritynumber socialsecurity", Class::Ssn),
            ("cardnumber creditcardnumber creditcard ccnumber", Class::Card),
            ("iban ibannumber", Class::Iban),
        ];
        let mut known = HashMap::new();
        for (list, class) in groups {
            known.extend(list.split_ascii_whitespace().map(|key| (key.to_owned(), Some(class))));
        }
        known.extend(scrub.keys.iter().map(|(key, class)| (plain(key), Some(*class))));
        for key in &scrub.keep_keys {
            if let Some(class) = scrub.keys.iter().find(|(other, _)| plain(other) == plain(key)).map(|(_, class)| *class) {
                return Err(Error::Contradiction { key: key.clone(), class });
            }
            known.insert(plain(key), None);
        }
        Ok(Self { known })
    }

    /// The frame of every object of a document that stands in `frame`.
    pub fn frames(document: &Document<'_>, frame: Frame) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::with_capacity(document.objects.len());
        for object in &document.objects {
            let inner = object.parent.map_or(frame, |(parent, key)| match (frames[parent], document.key(parent, key)) {
                (Frame::Protocol, "tools" | "functions" | "response_format" | "tool_choice" | "stop") => Frame::Schema,
                (Frame::Protocol, "arguments" | "input" | "metadata" | "feedback" | "tags") => Frame::Data,
                (outer, _) => outer,
            });
            frames.push(inner);
        }
        frames
    }

    /// What the key of a leaf says.
    pub fn role(&self, document: &Document<'_>, frames: &[Frame], leaf: usize) -> Role {
        let leaf = &document.leaves[leaf];
        let frame = frames[leaf.object];
        let written = document.key(leaf.object, leaf.key);
        if frame == Frame::Schema || frame == Frame::Protocol && matches!(written, "tools" | "functions" | "stop") {
            return Role::Secrets;
        }
        let key = plain(written);
        if frame == Frame::Protocol {
            return if among(SKELETON, &key) { Role::Skip } else { Role::Search(None) };
        }
        match self.known.get(&key) {
            Some(None) => Role::Skip,
            Some(class) => Role::Search(*class),
            None => Role::Search(Self::by_company(document, leaf.object, &key)),
        }
    }

    /// Keys that mean something only beside others: a `name` among a person's fields, a `city` in an address.
    fn by_company(document: &Document<'_>, object: usize, key: &str) -> Option<Class> {
        let around = || {
            let parent = document.objects[object].parent;
            plain(parent.map_or("", |(parent, key)| document.key(parent, key)))
        };
        let siblings = |list: &str| (0..document.objects[object].keys.len()).any(|k| among(list, &plain(document.key(object, Some(k)))));
        match key {
            "name" | "displayname" => {
                let around = around();
                let person = among(PEOPLE, &around) || around.strip_suffix('s').is_some_and(|one| among(PEOPLE, one));
                (person || siblings(BESIDE_A_NAME)).then_some(Class::Name)
            }
            "city" | "town" => (around().contains("address") || siblings(STREETS) || siblings(ZIPS)).then_some(Class::City),
            // A user name is a name only where it looks like one: see `names::composite`.
            _ if among(USERS, key) => Some(Class::Name),
            _ => None,
        }
    }
}
