//! Looks for the program that takes longest for what is proven of it: `cargo run --release -p dunlin-sandbox
//! --example price_search [SECONDS] [SEED]`.
//!
//! Prints each program that is worse than all before, with the share of its bound that it took here: 100 % would
//! be a program that takes as long here as the prices say for a slow device.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it is a measurement for people")]

#[path = "../tests/work/stress.rs"]
mod stress;

use std::time::{Duration, Instant};

use dunlin_sandbox::{Engine, EngineConfig};
use stress::{Strain, Stress, Type};

const TYPES: [Type; 4] = [Type::I32, Type::I64, Type::F64, Type::V128];

/// A stream of choices.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as u32 % end
    }

    /// A number that is as likely small as large.
    fn size(&mut self, most: u32) -> u32 {
        let bits = 1 + self.below(32 - most.leading_zeros());
        (self.below(1 << bits) + 1).min(most)
    }

    fn strain(&mut self) -> Strain {
        match self.below(8) {
            0 => Strain::Rotate { by: self.size(100) },
            1 => Strain::Maybe { locals: self.size(1000) },
            2 => Strain::Call { values: self.size(900) },
            3 => Strain::Block { values: self.size(900) },
            4 => Strain::Far { loads: self.size(50), stores: self.below(2) == 0 },
            5 => Strain::Bulk { bytes: self.size(1 << 20), copies: self.below(2) == 0 },
            6 => Strain::Chain { operator: self.below(100) as usize, length: self.size(50) },
            _ => Strain::Frame { locals: self.size(1000) },
        }
    }

    fn program(&mut self) -> Stress {
        let kind = TYPES[self.below(4) as usize];
        let strains = (0..=self.below(3)).map(|_| self.strain()).collect();
        Stress { kind, locals: self.size(1000), pages: self.size(4096).max(4), strains }
    }

    /// The program, a little changed.
    fn neighbour(&mut self, of: &Stress) -> Stress {
        let mut program = of.clone();
        match self.below(6) {
            0 => program.kind = TYPES[self.below(4) as usize],
            1 => program.locals = self.size(1000),
            2 => program.pages = self.size(4096).max(4),
            3 => program.strains.push(self.strain()),
            4 if program.strains.len() > 1 => {
                let place = self.below(program.strains.len() as u32) as usize;
                program.strains.remove(place);
            }
            _ => {
                let place = self.below(program.strains.len() as u32) as usize;
                program.strains[place] = self.strain();
            }
        }
        program
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let (seconds, seed) = (arguments.next().unwrap_or(60), arguments.next().unwrap_or(1));
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let (mut chance, end) = (Chance(seed), Instant::now() + Duration::from_secs(seconds));
    let share = |program: &Stress| {
        let (bound, took) = program.measured(&engine, 3_000_000)?;
        Some(took.as_secs_f64() / bound.as_secs_f64())
    };
    let (mut worst, mut programs) = (0.0, 0);
    while Instant::now() < end {
        // From a program of chance uphill, until nothing near it is worse for a while.
        let mut here = chance.program();
        let (mut height, mut tries) = (share(&here).unwrap_or(0.0), 0);
        while tries < 12 && Instant::now() < end {
            programs += 1;
            let next = chance.neighbour(&here);
            match share(&next) {
                Some(higher) if higher > height => (here, height, tries) = (next, higher, 0),
                _ => tries += 1,
            }
        }
        if height > worst {
            worst = height;
            println!("{:6.1} %  {here:?}", 100.0 * height);
        }
    }
    println!("{programs} programs; the prices leave a factor of {:.1} to the worst", 1.0 / worst);
}
