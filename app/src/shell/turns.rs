//! Keys that arrive in one slow frame are done one after the other.
//!
//! A frame sees all that was pressed since the last one at once, and asks in its own order: a list that opens by Ctrl+P would see an
//! Escape that was pressed before it, and what is typed after Ctrl+P would reach the page, because the field that it is meant for has
//! the keyboard only in the next frame. So a key after which different things listen ends the frame for the keys after it: they have
//! the next one.

use egui::{Context, Event, Key};

use crate::action::Command;

/// Commands that open what is typed into.
const OPENING: [Command; 4] = [Command::Palette, Command::Help, Command::Search, Command::OpenFolder];

/// Keys that wait for their frame.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: Vec<Event>,
}

impl Turns {
    /// Once per frame, before anybody asks for keys: leaves those whose turn it is.
    pub(super) fn take(&mut self, ctx: &Context) {
        // In a field a sign is a sign.
        let typing = ctx.egui_wants_keyboard_input();
        ctx.input_mut(|input| {
            if !self.waiting.is_empty() {
                input.events.splice(0..0, std::mem::take(&mut self.waiting));
            }
            let Some(end) = end_of_turn(&input.events, typing) else { return };
            let later = input.events.split_off(end);
            let (typed, others): (Vec<_>, Vec<_>) = later.into_iter().partition(is_typed);
            input.events.extend(others);
            self.waiting = typed;
        });
        if !self.waiting.is_empty() {
            ctx.request_repaint();
        }
    }
}

fn is_typed(event: &Event) -> bool {
    let typed = matches!(event, Event::Text(_) | Event::Paste(_) | Event::Ime(_) | Event::Copy | Event::Cut);
    typed || matches!(event, Event::Key { pressed: true, .. })
}

/// Where the keys of the next frame begin; none where all have this one.
fn end_of_turn(events: &[Event], typing: bool) -> Option<usize> {
    let mut text_before = false;
    for (i, event) in events.iter().enumerate() {
        match event {
            // What is typed is looked up before Enter takes it.
            Event::Key { key: Key::Enter, pressed: true, .. } if text_before => return Some(i),
            Event::Key { key, pressed: true, modifiers, .. } if ends_turn(*key, *modifiers, typing) => {
                // The sign of a key comes after it; what is pressed with Ctrl has none, and Escape has none.
                let writes = !modifiers.command && *key != Key::Escape;
                let sign = writes && matches!(events.get(i + 1), Some(Event::Text(_)));
                let end = i + 1 + usize::from(sign);
                return events[end..].iter().any(is_typed).then_some(end);
            }
            Event::Text(_) | Event::Paste(_) => text_before = true,
            _ => {}
        }
    }
    None
}

fn ends_turn(key: Key, modifiers: egui::Modifiers, typing: bool) -> bool {
    let opens = |command: Command| {
        let acts = !(typing && command.is_bare_key());
        acts && command
            .shortcut()
            .is_some_and(|short| short.logical_key == key && modifiers.matches_logically(short.modifiers))
    };
    key == Key::Escape || OPENING.into_iter().any(opens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::{Modifiers, RawInput};

    fn key(key: Key, modifiers: Modifiers) -> Event {
        Event::Key { key, physical_key: None, pressed: true, repeat: false, modifiers }
    }

    /// The keys and texts of each frame, all events having arrived in the first.
    fn frames(events: Vec<Event>) -> Vec<String> {
        let (ctx, mut turns) = (Context::default(), Turns::default());
        let mut input = RawInput { events, ..RawInput::default() };
        let mut frames = Vec::new();
        loop {
            let mut seen = String::new();
            let _ = ctx.run_ui(std::mem::take(&mut input), |ui| {
                turns.take(ui.ctx());
                ui.ctx().input(|i| {
                    for event in &i.events {
                        match event {
                            Event::Key { key, .. } => seen += &format!("<{}>", key.name()),
                            Event::Text(text) => seen += text,
                            _ => seen += "?",
                        }
                    }
                });
            });
            frames.push(seen);
            if turns.waiting.is_empty() {
                return frames;
            }
        }
    }

    #[test]
    fn what_opens_ends_the_frame_of_the_keys_before_it() {
        let text = |text: &str| Event::Text(text.into());
        let palette = || key(Key::P, Modifiers::COMMAND);
        let escape = || key(Key::Escape, Modifiers::NONE);
        assert_eq!(
            frames(vec![escape(), palette(), text("to"), text("pk"), key(Key::Enter, Modifiers::NONE)]),
            ["<Escape>", "<P>", "topk", "<Enter>"]
        );
        // The sign of `/` belongs to its key and is not typed into the field that it opens.
        let slash =
            vec![key(Key::Slash, Modifiers::NONE), text("/"), key(Key::B, Modifiers::NONE), text("b")];
        assert_eq!(frames(slash), ["<Slash>/", "<B>b"]);
        let down = || key(Key::ArrowDown, Modifiers::NONE);
        assert_eq!(frames(vec![down(), down(), key(Key::N, Modifiers::NONE)]), ["<Down><Down><N>"]);
        assert_eq!(frames(vec![palette()]), ["<P>"]);
        assert_eq!(frames(vec![]), [""]);
    }
}
