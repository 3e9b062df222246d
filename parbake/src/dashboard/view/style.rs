//! Colours, or attributes where colours are disabled.

use parbake_up::ClusterState;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, BorderType};

#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
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

    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    pub(super) fn busy(self) -> Style {
        self.of(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Stopped or paused.
    pub(super) fn idle(self) -> Style {
        self.of(Color::Blue)
    }

    pub(super) fn faint(self) -> Style {
        if self.colour {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub(super) fn curve(self) -> Style {
        self.of(Color::Cyan)
    }

    pub(super) fn head(self) -> Style {
        self.of(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn state(self, state: ClusterState) -> Style {
        match state {
            ClusterState::Running => self.good(),
            ClusterState::Starting | ClusterState::Stopping => self.busy(),
            ClusterState::Paused | ClusterState::Created | ClusterState::Stopped => self.idle(),
            ClusterState::Broken => self.bad(),
        }
    }

    /// A frame with a title, heavy if it has the focus.
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
