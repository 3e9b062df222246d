//! Colours, or what stands for them where there are none.

use parbake_up::ClusterState;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, BorderType};

/// How things look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    /// Whether there are colours.
    pub(super) colour: bool,
}

impl Palette {
    fn of(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// What is as it should be.
    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    /// What is on its way.
    pub(super) fn busy(self) -> Style {
        self.of(Color::Yellow)
    }

    /// What is wrong.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What rests.
    pub(super) fn still(self) -> Style {
        self.of(Color::Blue)
    }

    /// What matters least.
    pub(super) fn faint(self) -> Style {
        if self.colour {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    /// Curves.
    pub(super) fn curve(self) -> Style {
        self.of(Color::Cyan)
    }

    /// Headings.
    pub(super) fn head(self) -> Style {
        self.of(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The line that is chosen.
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A cluster in this state.
    pub(super) fn state(self, state: ClusterState) -> Style {
        match state {
            ClusterState::Running => self.good(),
            ClusterState::Starting | ClusterState::Stopping => self.busy(),
            ClusterState::Paused | ClusterState::Created | ClusterState::Stopped => self.still(),
            ClusterState::Broken => self.bad(),
        }
    }

    /// A frame with a title; a heavy one where the arrow keys go.
    pub(super) fn block<'a>(self, title: String, focused: bool) -> Block<'a> {
        let (kind, style) = if focused {
            (BorderType::Thick, self.curve())
        } else {
            (BorderType::Rounded, self.faint())
        };
        Block::bordered()
            .border_type(kind)
            .border_style(style)
            .title(title)
            .title_style(self.head())
    }
}
