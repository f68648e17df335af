//! Everything a person can do from the menus, the palette and the keyboard, in one list.

use egui::{Key, KeyboardShortcut, Modifiers};

use crate::address::Place;

/// A command. Menus and the palette are generated from [`Command::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Choose a folder to open.
    OpenFolder,
    /// Type the address of a folder in a store.
    OpenAddress,
    /// Read the open folder again.
    Reload,
    /// Leave the program.
    Quit,
    /// Show the palette.
    Palette,
    /// Back in the history.
    Back,
    /// Forward in the history.
    Forward,
    /// Put the cursor into the search field.
    Search,
    /// The next feature in the order of the table.
    NextFeature,
    /// The previous feature in the order of the table.
    PreviousFeature,
    /// Some living feature.
    RandomFeature,
    /// Add or remove the bookmark of the feature in front.
    Bookmark,
    /// Copy the address of this place.
    CopyAddress,
    /// To the runs.
    ShowRuns,
    /// To the form for a new training.
    Train,
    /// To the features of the run last looked at.
    ShowFeatures,
    /// To a claim about the feature in front.
    ShowClaim,
    /// To the map of the run last looked at.
    ShowMap,
    /// To the prompt of the run last looked at.
    ShowPrompt,
    /// To the documents of the dataset last looked at.
    ShowDocuments,
    /// To the experts of the dataset last looked at.
    ShowExperts,
    /// Save a picture of the pane in front.
    SavePicture,
    /// The same place a second time, at the right.
    SplitRight,
    /// The tab after the one in front.
    NextTab,
    /// The tab before it.
    PreviousTab,
    /// Close the tab in front.
    CloseTab,
    /// Put all tabs back.
    ResetLayout,
    /// Show or hide the tree.
    ToggleTree,
    /// Dark or light.
    ToggleTheme,
    /// Let things move, or not.
    ToggleMotion,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// As designed.
    ZoomReset,
    /// All keys.
    Help,
}

/// The menus, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// Folders and the program.
    File,
    /// Places.
    Go,
    /// How the window looks.
    View,
    /// Keys and the version.
    Help,
}

impl Menu {
    /// All menus, from left to right.
    pub const ALL: [Self; 4] = [Self::File, Self::Go, Self::View, Self::Help];

    /// What stands in the bar.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Go => "Go",
            Self::View => "View",
            Self::Help => "Help",
        }
    }
}

impl Command {
    /// All commands, in the order of the menus.
    pub const ALL: [Self; 34] = [
        Self::OpenFolder,
        Self::OpenAddress,
        Self::Reload,
        Self::SavePicture,
        Self::Quit,
        Self::Palette,
        Self::Back,
        Self::Forward,
        Self::Search,
        Self::NextFeature,
        Self::PreviousFeature,
        Self::RandomFeature,
        Self::Bookmark,
        Self::CopyAddress,
        Self::ShowRuns,
        Self::Train,
        Self::ShowFeatures,
        Self::ShowClaim,
        Self::ShowMap,
        Self::ShowPrompt,
        Self::ShowDocuments,
        Self::ShowExperts,
        Self::SplitRight,
        Self::NextTab,
        Self::PreviousTab,
        Self::CloseTab,
        Self::ResetLayout,
        Self::ToggleTree,
        Self::ToggleTheme,
        Self::ToggleMotion,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::ZoomReset,
        Self::Help,
    ];

    /// Name in menus; `…` when it opens a dialog.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it does, for the tooltip and the palette.
    pub fn tooltip(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenFolder => ("Open folder…", "Open a folder with runs and datasets"),
            Self::OpenAddress => {
                ("Open address…", "Open runs and datasets of an object store or a web server")
            }
            Self::Reload => ("Reload", "Look for runs and datasets again and reload them"),
            Self::Quit => ("Quit", "Leave SAE Workbench"),
            Self::Palette => ("Command palette…", "Find commands, runs and features by name"),
            Self::Back => ("Back", "Return to the previous place"),
            Self::Forward => ("Forward", "Go to the next place in the history"),
            Self::Search => ("Search features", "Move the cursor to the search field of the feature table"),
            Self::NextFeature => ("Next feature", "The next feature in the order of the table"),
            Self::PreviousFeature => ("Previous feature", "The previous feature in the order of the table"),
            Self::RandomFeature => ("Random feature", "A random feature of the table that is not dead"),
            Self::Bookmark => ("Bookmark", "Add or remove a bookmark for the current feature"),
            Self::CopyAddress => {
                ("Copy address", "Copy the address of this place, which `sae-app` opens again")
            }
            Self::ShowRuns => ("Runs", "All runs of the folder, with their curves"),
            Self::Train => ("Train…", "Train a dictionary on one of the folder's datasets"),
            Self::ShowFeatures => ("Features", "The feature table of the current run"),
            Self::ShowClaim => {
                ("Test a claim", "Say where this feature fires and test it on every activation in the data")
            }
            Self::ShowMap => ("Map", "The features of the current run in a plane"),
            Self::ShowPrompt => {
                ("Prompt", "Type a text, see which features fire and what changing them does")
            }
            Self::ShowDocuments => ("Documents", "The documents of the current dataset"),
            Self::ShowExperts => ("Experts", "The experts of the current dataset"),
            Self::Help => ("Keyboard shortcuts", "All keys, and the version of this program"),
            Self::SavePicture => ("Save picture…", "Save the current pane as a PNG image"),
            Self::SplitRight => ("Split right", "Open this place a second time, to the right"),
            Self::NextTab => ("Next tab", "The tab to the right of the current one"),
            Self::PreviousTab => ("Previous tab", "The tab to the left of the current one"),
            Self::CloseTab => ("Close tab", "Close the current tab"),
            Self::ResetLayout => ("Reset layout", "Restore the initial tabs"),
            Self::ToggleTree => ("Folder panel", "Show or hide the panel of runs and datasets"),
            Self::ToggleTheme => ("Dark or light", "Switch between the dark and the light theme"),
            Self::ToggleMotion => ("Motion", "Switch fading, turning and blinking on or off"),
            Self::ZoomIn => ("Zoom in", "Make text and everything else larger; it is kept"),
            Self::ZoomOut => ("Zoom out", "Make everything smaller"),
            Self::ZoomReset => ("Reset zoom", "Back to the default size"),
        }
    }

    /// In which menu it stands.
    pub fn menu(self) -> Menu {
        match self {
            Self::OpenFolder | Self::OpenAddress | Self::Reload | Self::SavePicture | Self::Quit => {
                Menu::File
            }
            Self::Palette
            | Self::Back
            | Self::Forward
            | Self::Search
            | Self::NextFeature
            | Self::PreviousFeature
            | Self::RandomFeature
            | Self::Bookmark
            | Self::CopyAddress
            | Self::ShowRuns
            | Self::Train
            | Self::ShowFeatures
            | Self::ShowClaim
            | Self::ShowMap
            | Self::ShowPrompt
            | Self::ShowDocuments
            | Self::ShowExperts => Menu::Go,
            Self::Help => Menu::Help,
            Self::SplitRight
            | Self::NextTab
            | Self::PreviousTab
            | Self::CloseTab
            | Self::ResetLayout
            | Self::ToggleTree
            | Self::ToggleTheme
            | Self::ToggleMotion
            | Self::ZoomIn
            | Self::ZoomOut
            | Self::ZoomReset => Menu::View,
        }
    }

    /// The key that does it. Keys without a modifier count only while no text is typed.
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        const CTRL: Modifiers = Modifiers::COMMAND;
        let (modifiers, key) = match self {
            Self::OpenFolder => (CTRL, Key::O),
            Self::OpenAddress => (CTRL.plus(Modifiers::SHIFT), Key::A),
            Self::Reload => (Modifiers::NONE, Key::F5),
            Self::Quit => (CTRL, Key::Q),
            Self::Palette => (CTRL, Key::P),
            Self::Back => (Modifiers::ALT, Key::ArrowLeft),
            Self::Forward => (Modifiers::ALT, Key::ArrowRight),
            Self::Search => (Modifiers::NONE, Key::Slash),
            Self::NextFeature => (Modifiers::NONE, Key::N),
            Self::PreviousFeature => (Modifiers::NONE, Key::P),
            Self::RandomFeature => (Modifiers::NONE, Key::R),
            Self::Bookmark => (Modifiers::NONE, Key::B),
            Self::ShowClaim => (CTRL, Key::Num5),
            Self::ShowMap => (CTRL, Key::Num3),
            Self::ShowPrompt => (CTRL, Key::Num4),
            Self::ShowDocuments => (CTRL, Key::Num6),
            Self::ShowExperts => (CTRL, Key::Num7),
            Self::Help => (Modifiers::NONE, Key::F1),
            Self::SavePicture => (CTRL.plus(Modifiers::SHIFT), Key::S),
            Self::SplitRight => (CTRL, Key::Backslash),
            Self::NextTab => (CTRL, Key::PageDown),
            Self::PreviousTab => (CTRL, Key::PageUp),
            Self::CopyAddress => (CTRL.plus(Modifiers::SHIFT), Key::C),
            Self::ShowRuns => (CTRL, Key::Num1),
            Self::ShowFeatures => (CTRL, Key::Num2),
            Self::CloseTab => (CTRL, Key::W),
            Self::ResetLayout | Self::Train | Self::ToggleMotion => return None,
            Self::ToggleTree => (CTRL, Key::B),
            Self::ToggleTheme => (CTRL.plus(Modifiers::SHIFT), Key::L),
            Self::ZoomIn => (CTRL, Key::Plus),
            Self::ZoomOut => (CTRL, Key::Minus),
            Self::ZoomReset => (CTRL, Key::Num0),
        };
        Some(KeyboardShortcut::new(modifiers, key))
    }

    /// Its key as keyboards have it: `/` and `Ctrl++`, not the names of these signs. Empty where it has none.
    pub fn key_text(self, ctx: &egui::Context) -> String {
        let Some(shortcut) = self.shortcut() else { return String::new() };
        let (text, key) = (ctx.format_shortcut(&shortcut), shortcut.logical_key);
        let sign = match key {
            Key::Slash => "/",
            Key::Backslash => "\\",
            Key::Plus => "+",
            Key::Minus => "-",
            _ => return text,
        };
        text.strip_suffix(key.name()).map_or(text.clone(), |modifiers| format!("{modifiers}{sign}"))
    }

    /// Whether its key does something at `here`. A letter that is typed where no field has the focus must not lead away from a text that
    /// is being read.
    pub fn key_acts(self, here: Option<&Place>) -> bool {
        self != Self::RandomFeature
            || matches!(
                here,
                Some(
                    Place::Features { .. }
                        | Place::Feature { .. }
                        | Place::Example { .. }
                        | Place::Claim { .. }
                        | Place::Map { .. }
                        | Place::Matching { .. }
                )
            )
    }

    /// Whether it begins a new group of its menu.
    pub fn begins_group(self) -> bool {
        matches!(
            self,
            Self::SavePicture
                | Self::Quit
                | Self::Back
                | Self::Search
                | Self::Bookmark
                | Self::ShowRuns
                | Self::NextTab
                | Self::ResetLayout
                | Self::ToggleTheme
                | Self::ZoomIn
        )
    }

    /// Whether its key is a bare letter or sign, which a text field would swallow.
    pub fn is_bare_key(self) -> bool {
        self.shortcut().is_some_and(|s| s.modifiers.is_none() && !matches!(s.logical_key, Key::F1 | Key::F5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_are_written_as_on_a_keyboard() {
        let ctx = egui::Context::default();
        assert_eq!(Command::Search.key_text(&ctx), "/");
        assert!(Command::ZoomIn.key_text(&ctx).ends_with('+'), "{}", Command::ZoomIn.key_text(&ctx));
        assert!(Command::SplitRight.key_text(&ctx).ends_with('\\'));
        assert_eq!(Command::NextFeature.key_text(&ctx), "N");
        assert_eq!(Command::Train.key_text(&ctx), "");
    }

    #[test]
    fn a_stray_letter_does_not_lead_away_from_a_text() {
        let text = Place::Dataset { dataset: "data".into(), document: Some(3) };
        assert!(!Command::RandomFeature.key_acts(Some(&text)) && !Command::RandomFeature.key_acts(None));
        assert!(Command::RandomFeature.key_acts(Some(&Place::Feature { run: "topk".into(), feature: 3 })));
        assert!(Command::Palette.key_acts(Some(&text)));
    }

    #[test]
    fn names_and_keys_are_unique() {
        let names: HashSet<_> = Command::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Command::ALL.len());
        let keys: Vec<_> = Command::ALL.iter().filter_map(|c| c.shortcut()).collect();
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{key:?} is bound twice");
        }
    }
}
