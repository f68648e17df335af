//! The terminal program `sae`. Everything is in [`sae::cli`].

fn main() -> std::process::ExitCode {
    sae::cli::main()
}
