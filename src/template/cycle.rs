//! Files that include or extend themselves, over however many others. Tera looks at includes and parents separately, and
//! would follow a circle of both until its stack is full.

use super::load::Loader;
use crate::exit::Exit;

/// How far the walk over a file's links has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    /// It is on the path that is being walked.
    Open,
    Done,
}

impl Loader<'_> {
    /// Reports each link that closes a circle.
    pub fn cycles(&mut self) {
        let mut seen = vec![Seen::Not; self.files.len()];
        let mut circles = Vec::new();
        for root in 0..self.files.len() {
            if seen[root] == Seen::Not {
                self.walk(root, &mut seen, &mut circles);
            }
        }
        for path in circles {
            self.circle(&path);
        }
    }

    /// Follows every link from `root`, without recursion: how deep files are nested is the user's choice. Adds the path
    /// (a file, and which of its links is followed) of each circle, from the file that closes it on.
    fn walk(&self, root: usize, seen: &mut [Seen], circles: &mut Vec<Vec<(usize, usize)>>) {
        let mut path = vec![(root, 0)];
        seen[root] = Seen::Open;
        while let Some((file, next)) = path.last_mut() {
            let Some(link) = self.files[*file].links.get(*next) else {
                seen[*file] = Seen::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match seen[link.file] {
                Seen::Done => {}
                Seen::Not => {
                    seen[link.file] = Seen::Open;
                    path.push((link.file, 0));
                }
                Seen::Open => {
                    let start = path.iter().position(|(file, _)| *file == link.file).unwrap_or(0);
                    let mut circle: Vec<_> = path[start..].iter().map(|(file, next)| (*file, next - 1)).collect();
                    // The link that closes it is the one to be looked at.
                    circle.rotate_right(1);
                    circles.push(circle);
                }
            }
        }
    }

    fn circle(&mut self, circle: &[(usize, usize)]) {
        let Some(&(file, link)) = circle.first() else { return };
        let names = circle.iter().chain(circle.first()).map(|(file, _)| self.files[*file].name.as_str());
        let names = names.collect::<Vec<_>>().join(" → ");
        let only_parents = circle.iter().all(|(file, link)| self.files[*file].links[*link].extends);
        let verb = if only_parents { "extends" } else { "includes" };
        let at = self.files[file].links[link].at.clone();
        self.wrong(file, &at, &format!("the file {verb} itself: {names}"), None, Exit::DATA);
    }
}
