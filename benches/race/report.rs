//! The tables.

use crate::contender::Contender;
use crate::round::{Figures, Paced};
use crate::stats::median;

/// Prints the medians of all rounds, for each contender.
pub(crate) fn print(contenders: &[Contender], figures: &[Vec<Figures>]) {
    println!("| contender | streams × 50/s | events/s | ms p50 | ms p99 | CPU µs/event | whole streams |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (contender, rounds) in contenders.iter().zip(figures) {
        for at in 0..rounds[0].paced.len() {
            print_paced(*contender, &rounds.iter().map(|round| &round.paced[at]).collect::<Vec<_>>());
        }
    }
    println!("\nAt half of what one core could carry at the CPU cost of the second load above:\n");
    println!("| contender | streams × 50/s | events/s | ms p50 | ms p99 | CPU µs/event | whole streams |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (contender, rounds) in contenders.iter().zip(figures) {
        print_paced(*contender, &rounds.iter().map(|round| &round.half).collect::<Vec<_>>());
    }
    println!(
        "\n| contender | unpaced events/s | CPU µs/event | streams opened/s | CPU µs/stream | KiB per idle stream |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (contender, rounds) in contenders.iter().zip(figures) {
        let of = |pick: fn(&Figures) -> f64| median(rounds.iter().map(pick));
        println!(
            "| {} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} |",
            contender.name(),
            of(|round| round.unpaced_events_per_second),
            of(|round| round.unpaced_cpu_us),
            of(|round| round.opened_per_second),
            of(|round| round.opened_cpu_us),
            of(|round| round.idle_kib),
        );
    }
}

fn print_paced(contender: Contender, rounds: &[&Paced]) {
    let of = |pick: fn(&Paced) -> f64| median(rounds.iter().map(|paced| pick(paced)));
    println!(
        "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.0} |",
        contender.name(),
        of(|paced| f64::from(paced.streams)),
        of(|paced| paced.cost.events_per_second),
        of(|paced| paced.p50_ms),
        of(|paced| paced.p99_ms),
        of(|paced| paced.cost.cpu_us_per_event),
        of(|paced| f64::from(paced.cost.whole)),
    );
}
