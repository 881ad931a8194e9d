//! A queue with a size and an answer for "full".

use std::collections::VecDeque;

/// First in, first out, never longer than its bound. What does not fit is handed back and counted.
#[derive(Debug, Clone)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    max: usize,
    refused: u64,
}

impl<T> BoundedQueue<T> {
    /// An empty queue for `max` items.
    pub fn new(max: usize) -> Self {
        Self { items: VecDeque::with_capacity(max.min(1024)), max, refused: 0 }
    }

    /// Appends, or hands the item back when full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.max {
            self.refused += 1;
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Appends; when full, the oldest leaves and is returned.
    pub fn push_over(&mut self, item: T) -> Option<T> {
        let oldest = if self.items.len() >= self.max {
            self.refused += 1;
            self.items.pop_front()
        } else {
            None
        };
        self.items.push_back(item);
        oldest
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many did not fit since the start.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_or_drops_the_oldest_and_counts() {
        let mut queue = BoundedQueue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(queue.push_over(4), Some(1));
        assert_eq!((queue.pop(), queue.pop(), queue.pop(), queue.refused()), (Some(2), Some(4), None, 2));
    }
}
