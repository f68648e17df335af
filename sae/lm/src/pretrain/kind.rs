//! The architectures by name, and the options that each begins with.

use serde::{Deserialize, Serialize};

use super::{Branch, Llama, ModelConfig, PretrainConfig, Units};
use crate::{Error, Result};

/// An architecture of `sae pretrain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Gated experts, the k best of a learned router (OLMoE's form).
    #[default]
    TopK,
    /// One MLP of `experts_per_token · expert_width` hidden units for every token: the control.
    Dense,
    /// Monet, experts cut so that each half has half of the hidden units and of the output.
    MonetVertical,
    /// Monet, experts cut in a half that reads and a half that writes.
    MonetHorizontal,
    /// ReLU experts, chosen by the sparsity that their weights let expect (MoE-X).
    MoeX,
    /// Experts whose gate is dense first and becomes sparse as its temperature falls (EvoMoE).
    EvoMoe,
    /// Modules that are switched on for each token, each by itself (sparse modular activation).
    Modular,
}

impl Kind {
    /// All of them, with the names that configurations and commands use.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::TopK, "top-k"),
        (Self::Dense, "dense"),
        (Self::MonetVertical, "monet-vertical"),
        (Self::MonetHorizontal, "monet-horizontal"),
        (Self::MoeX, "moe-x"),
        (Self::EvoMoe, "evo-moe"),
        (Self::Modular, "modular"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The architecture of a name.
    ///
    /// # Errors
    /// A request error that lists the names.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(_, of)| *of == name).map(|(kind, _)| kind);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            Error::request(format!("there is no architecture `{name}`; there are {}", names.join(", ")))
        })
    }

    /// True of Monet's two.
    pub fn is_monet(self) -> bool {
        matches!(self, Self::MonetVertical | Self::MonetHorizontal)
    }

    /// The activation, if a configuration does not name one.
    fn units(self) -> Units {
        match self {
            Self::TopK | Self::Dense => Units::Silu,
            Self::MonetVertical | Self::MonetHorizontal => Units::Relu2,
            Self::MoeX => Units::Relu,
            Self::EvoMoe | Self::Modular => Units::Gelu,
        }
    }
}

impl PretrainConfig {
    /// What an architecture begins with: about as many active parameters as the others, and the losses that
    /// its authors weigh.
    pub fn of(architecture: Kind) -> Self {
        let plain = Self { architecture, ..Self::default() };
        match architecture {
            Kind::TopK | Kind::Dense => plain,
            Kind::MonetVertical | Kind::MonetHorizontal => {
                Self { experts: 1024, expert_width: 8, balance: 0.0, z_loss: 0.0, ..plain }
            }
            // Two matrices an expert in place of three.
            Kind::MoeX => Self { expert_width: 168, z_loss: 0.0, ..plain },
            Kind::EvoMoe => Self { expert_width: 336, experts_per_token: 1, ..plain },
            // All modules together cost what the others cost: a token meets at most as many parameters.
            Kind::Modular => Self {
                experts: 4,
                expert_width: 84,
                experts_per_token: 1,
                balance: 0.0,
                z_loss: 0.0,
                ..plain
            },
        }
    }

    /// The activation of its hidden units.
    pub fn units(&self) -> Units {
        self.activation.unwrap_or(self.architecture.units())
    }

    /// Halves of each kind of Monet's experts, if their number is a square.
    fn side(&self) -> usize {
        self.experts.isqrt()
    }

    /// The `config.json` of an architecture other than OLMoE's; `experts_per_token` may differ in training.
    pub(super) fn llama(&self, experts_per_token: usize) -> ModelConfig {
        let hidden = self.experts_per_token * self.expert_width;
        let monet = |moe_decompose| Branch::Monet {
            moe_dim: self.expert_width,
            moe_heads: self.router_heads,
            moe_experts: self.side(),
            moe_topk: self.router_topk,
            moe_groups: self.router_groups,
            moe_decompose,
        };
        let plain = |router, experts_per_token| Branch::PlainMoe {
            intermediate_size: self.expert_width,
            num_experts: self.experts,
            num_experts_per_tok: experts_per_token,
            norm_topk_prob: false,
            router,
        };
        let (model_type, architectures, branch) = match self.architecture {
            Kind::MonetVertical => ("monet", Some("MonetForCausalLM"), monet("vertical")),
            Kind::MonetHorizontal => ("monet", Some("MonetForCausalLM"), monet("horizontal")),
            Kind::MoeX => ("plain_moe", None, plain("expected_sparsity", experts_per_token)),
            Kind::EvoMoe => ("plain_moe", None, plain("learned", experts_per_token)),
            Kind::Modular => ("plain_moe", None, plain("switched", self.experts)),
            Kind::TopK | Kind::Dense => {
                let family = if self.gated { "llama" } else { "arcee" };
                let class = if self.gated { "LlamaForCausalLM" } else { "ArceeForCausalLM" };
                (family, Some(class), Branch::Dense { intermediate_size: hidden })
            }
        };
        ModelConfig::Llama(Llama {
            model_type,
            architectures: architectures.map(|name| [name]),
            vocab_size: self.vocab_size,
            hidden_size: self.d_model,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            max_position_embeddings: self.context_length,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            attention_bias: false,
            bos_token_id: Some(0),
            eos_token_id: Some(0),
            pad_token_id: Some(1),
            torch_dtype: "float16",
            hidden_act: self.units(),
            branch,
        })
    }

    /// An error for options that the architecture does not have, and for numbers that it cannot have.
    pub(super) fn check_architecture(&self) -> Result<()> {
        let (kind, name) = (self.architecture, self.architecture.name());
        let initial = Self::of(kind);
        let other = |given: bool, here: bool, option: &str, whose: &str| match given && !here {
            true => {
                Err(Error::request(format!("{option} is an option of {whose}; the architecture is {name}"))
                    .with_remedy("leave it out, or choose a different architecture"))
            }
            false => Ok(()),
        };
        let (monet, evo) = (kind.is_monet(), kind == Kind::EvoMoe);
        let learned = matches!(kind, Kind::TopK | Kind::MoeX | Kind::EvoMoe);
        other(self.router_heads != initial.router_heads, monet, "router_heads", "Monet")?;
        other(self.router_topk != initial.router_topk, monet, "router_topk", "Monet")?;
        other(self.router_groups != initial.router_groups, monet, "router_groups", "Monet")?;
        other(self.uniformity != initial.uniformity, monet, "uniformity", "Monet")?;
        other(self.ambiguity != initial.ambiguity, monet, "ambiguity", "Monet")?;
        other(self.gate != initial.gate, evo, "gate", "evo-moe")?;
        other(self.diversity != initial.diversity, evo, "diversity", "evo-moe")?;
        other(self.start.is_some(), matches!(kind, Kind::MoeX | Kind::EvoMoe), "start", "moe-x and evo-moe")?;
        other(!self.gated, kind == Kind::Dense, "gated", "dense")?;
        other(
            self.activation.is_some(),
            matches!(kind, Kind::Dense | Kind::EvoMoe | Kind::Modular),
            "activation",
            "dense, evo-moe and modular",
        )?;
        let modular = kind == Kind::Modular;
        other(self.temperature_scale != initial.temperature_scale, modular, "temperature_scale", "modular")?;
        other(
            self.experts_per_token != initial.experts_per_token,
            !modular,
            "experts_per_token",
            "architectures whose router chooses; modules are switched one by one",
        )?;
        if !(self.temperature_scale > 0.0 && self.temperature_scale.is_finite()) {
            return Err(Error::request(format!(
                "temperature_scale is {}; expected a positive number",
                self.temperature_scale
            )));
        }
        other(self.balance != initial.balance, learned, "balance", "top-k, moe-x and evo-moe")?;
        other(self.z_loss != initial.z_loss, learned, "z_loss", "top-k, moe-x and evo-moe")?;
        if monet {
            self.check_monet()?;
        }
        let unit = |share: f64| (0.0..=1.0).contains(&share);
        match evo && (self.experts_per_token != 1 || !unit(self.gate.dense_share) || !unit(self.diversity)) {
            true => Err(Error::request(
                "evo-moe takes experts_per_token 1 (its gate ends with one), dense_share and diversity from 0 to 1",
            )),
            false => self.gate.check(),
        }
    }

    fn check_monet(&self) -> Result<()> {
        let side = self.side();
        if side == 0 || side * side != self.experts {
            return Err(Error::request(format!(
                "experts is {}, which is not a square: Monet's experts are pairs of √experts halves",
                self.experts
            ))
            .with_remedy(format!(
                "take {} or {}",
                (side * side).max(1),
                (side + 1) * (side + 1)
            )));
        }
        if !(1..=side).contains(&self.router_topk) || self.router_heads == 0 || self.router_groups == 0 {
            return Err(Error::request(format!(
                "router_topk is {}, router_heads {}, router_groups {}; expected 1 to √experts = {side}, and 1 or more",
                self.router_topk, self.router_heads, self.router_groups
            )));
        }
        if self.architecture == Kind::MonetVertical && !self.expert_width.is_multiple_of(2) {
            return Err(Error::request(format!(
                "expert_width is {}; monet-vertical halves it, so it must be even",
                self.expert_width
            )));
        }
        Ok(())
    }
}
