use super::*;
use proptest::prelude::*;

#[test]
fn places_waste_little() {
    assert_eq!(Arena::place_bytes(0), 8);
    assert_eq!(Arena::place_bytes(6), 8);
    assert_eq!(Arena::place_bytes(7), 16);
    assert_eq!(Arena::place_bytes(45 + 36), 88);
    assert_eq!(Arena::place_bytes(4094), 4096);
    assert_eq!(Arena::place_bytes(4095), 8192);
    assert_eq!(Arena::place_bytes(Arena::STRING_BYTES_MAX), 65_536);
    for length in 0..1024 {
        let place = Arena::place_bytes(length);
        assert!(place >= length + LENGTH_BYTES);
        assert!(
            place < length + LENGTH_BYTES + 8.max((length + LENGTH_BYTES) / 3),
            "{length} in {place}"
        );
        let used = PAGE_BYTES / place * place;
        assert!(PAGE_BYTES - used < 160, "{} lost with places of {place}", PAGE_BYTES - used);
    }
    assert_eq!(size_of::<Page>(), 16);
    assert_eq!(size_of::<Option<Ref>>(), 4);
}

#[test]
fn a_change_of_lengths_finds_the_whole_budget_again() {
    let mut arena = Arena::new(64 * PAGE_BYTES);
    for length in [0, 20, 100, 1000, 4000, 9000, Arena::STRING_BYTES_MAX, 20, 30_000] {
        let mut strings = Vec::new();
        while let Ok(string) = arena.insert_with(length, |bytes| bytes.fill(7)) {
            strings.push(string);
        }
        arena.check();
        let places = PAGE_BYTES / Arena::place_bytes(length).min(PAGE_BYTES);
        let pages = Arena::place_bytes(length).div_ceil(PAGE_BYTES);
        assert_eq!(strings.len(), 64 / pages * places, "strings of {length}");
        assert_eq!(arena.usage().free_bytes, 0);
        for string in strings.iter().step_by(2).chain(strings.iter().skip(1).step_by(2)) {
            arena.remove(*string);
        }
        arena.check();
        assert_eq!(arena.usage(), Usage { free_bytes: 64 * PAGE_BYTES, ..Usage::default() });
    }
}

#[test]
fn an_empty_page_stays_with_its_class_until_another_needs_it() {
    let mut arena = Arena::new(16 * PAGE_BYTES);
    let lengths = [10, 100, 1000, 4000];
    let all_free = Usage { free_bytes: 16 * PAGE_BYTES, ..Usage::default() };
    let places = [(); 2].map(|()| {
        lengths.map(|length| {
            let string = arena.insert(&[1; 4094][..length]).unwrap();
            arena.remove(string);
            arena.check();
            assert_eq!(arena.usage(), all_free);
            string
        })
    });
    let [first, second] = places;
    assert_eq!(first, second, "each finds the page that it had");
    // All sixteen are wanted at once.
    let whole = arena.insert(&[2; Arena::STRING_BYTES_MAX]).unwrap();
    arena.check();
    assert_eq!(arena.insert(b""), Err(Full));
    arena.remove(whole);
    assert_eq!(arena.usage(), all_free);
}

#[test]
fn what_is_too_long_is_refused() {
    let mut arena = Arena::new(32 * PAGE_BYTES);
    assert_eq!(arena.insert(&[0; Arena::STRING_BYTES_MAX + 1]), Err(Full));
    let string = arena.insert(&[1; Arena::STRING_BYTES_MAX]).unwrap();
    assert_eq!(arena.replace(string, &[0; Arena::STRING_BYTES_MAX + 1]), Err(Full));
    assert_eq!(arena.get(string), [1; Arena::STRING_BYTES_MAX]);
    assert_eq!(Arena::new(0).insert(b""), Err(Full));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0..100_usize, 4 => 100..1200_usize, 2 => 1200..5000_usize, 1 => 5000..66_000_usize];
    (length, any::<u8>())
        .prop_map(|(length, first)| (0..=u8::MAX).cycle().skip(first.into()).take(length).collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => string().prop_map(Step::Insert),
        2 => (any::<usize>(), string()).prop_map(|(at, string)| Step::Replace(at, string)),
        3 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn keeps_what_a_list_of_vectors_keeps(pages in 1..70_usize, steps in prop::collection::vec(step(), 1..400)) {
        let mut arena = Arena::new(pages * PAGE_BYTES);
        let mut oracle: Vec<(Ref, Vec<u8>)> = Vec::new();
        for step in steps {
            let free_before = arena.usage().free_bytes;
            match step {
                Step::Insert(bytes) => match arena.insert(&bytes) {
                    Ok(string) => oracle.push((string, bytes)),
                    // A string of a page or less is refused only when no page is free.
                    Err(Full) => prop_assert!(bytes.len() + LENGTH_BYTES > PAGE_BYTES || free_before == 0),
                },
                Step::Replace(at, bytes) if !oracle.is_empty() => {
                    let at = at % oracle.len();
                    if let Ok(string) = arena.replace(oracle[at].0, &bytes) {
                        oracle[at] = (string, bytes);
                    }
                }
                Step::Remove(at) if !oracle.is_empty() => {
                    let (string, _) = oracle.swap_remove(at % oracle.len());
                    arena.remove(string);
                }
                Step::Replace(..) | Step::Remove(_) => {}
            }
            for (string, bytes) in &oracle {
                prop_assert_eq!(arena.get(*string), &bytes[..]);
            }
            arena.check();
            let usage = arena.usage();
            prop_assert_eq!(usage.string_bytes, oracle.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
            let places = oracle.iter().map(|(_, bytes)| Arena::place_bytes(bytes.len())).sum::<usize>();
            prop_assert_eq!(usage.string_bytes + usage.rounding_bytes, places);
            let sum = places + usage.class_free_bytes + usage.free_bytes;
            prop_assert_eq!(sum, pages * PAGE_BYTES);
        }
        for (string, _) in oracle {
            arena.remove(string);
        }
        prop_assert_eq!(arena.usage().free_bytes, pages * PAGE_BYTES);
    }
}
