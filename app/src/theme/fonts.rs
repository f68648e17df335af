//! Fonts for the text of tokens, in any script. They are inside the program: what a token looks like must not
//! depend on the machine. `assets/fonts/README.md` says where they come from and under which licences.

use std::sync::Arc;

use egui::{FontData, FontDefinitions, FontFamily};

macro_rules! embedded {
    ($($file:literal),+ $(,)?) => {
        [$(($file, include_bytes!(concat!("../../../assets/fonts/", $file, ".ttf")))),+]
    };
}

/// Asked in this order for what the fonts of egui lack.
const FALLBACKS: [(&str, &[u8]); 23] = embedded![
    "NotoEmoji-Regular",
    "DejaVuSans",
    "DroidSansFallback",
    "NotoSansArabic-Regular",
    "NotoSansDevanagari-Regular",
    "NotoSansBengali-Regular",
    "NotoSansThai-Regular",
    "NotoSansTamil-Regular",
    "NotoSansTelugu-Regular",
    "NotoSansGujarati-Regular",
    "NotoSansGurmukhi-Regular",
    "NotoSansKannada-Regular",
    "NotoSansMalayalam-Regular",
    "NotoSansOriya-Regular",
    "NotoSansSinhala-Regular",
    "NotoSansLao-Regular",
    "NotoSansKhmer-Regular",
    "NotoSansMyanmar-Regular",
    "NotoSansEthiopic-Regular",
    "NotoSerifTibetan-Regular",
    "NotoSansMath-Regular",
    "NotoSansSymbols-Regular",
    "NotoSansSymbols2-Regular",
];

/// The fonts of egui, and after them those for all other scripts.
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    for (name, bytes) in FALLBACKS {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let names = || FALLBACKS.iter().map(|(name, _)| (*name).to_owned());
    for (family, list) in &mut fonts.families {
        if *family == FontFamily::Proportional {
            // It has the arrows and signs that the font for running text lacks.
            list.push("Hack".to_owned());
        }
        list.extend(names());
    }
    fonts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_a_large_vocabulary_has_glyphs() {
        let ctx = egui::Context::default();
        ctx.set_fonts(definitions());
        let _ = ctx.run_ui(egui::RawInput::default(), |_| {});
        for family in [FontFamily::Proportional, FontFamily::Monospace] {
            let font = egui::FontId::new(14.0, family);
            for text in [
                "naïve Größe café",
                "Ελληνικά русский",
                "日本語 漢字 かな カナ 한국어 简体 繁體",
                "שלום العربية فارسی",
                "हिन्दी বাংলা தமிழ் తెలుగు ગુજરાતી ਪੰਜਾਬੀ ಕನ್ನಡ മലയാളം ଓଡ଼ିଆ සිංහල",
                "ไทย ລາວ ខ្មែរ မြန်မာ བོད አማርኛ ქართული Հայերեն",
                "😀🙂🤖🥹👍🚀❤",
                "∀∃ℝ𝑥⟨⟩∑∫≤≠→⇒↵∅·–—…‹›“”„",
                "①★☆♪✓✗█▓░┌┐└┘",
            ] {
                let missing: Vec<char> = ctx.fonts_mut(|fonts| {
                    text.chars().filter(|c| !c.is_whitespace() && !fonts.has_glyph(&font, *c)).collect()
                });
                assert!(missing.is_empty(), "{missing:?} of {text}");
            }
        }
    }
}
