//! Asking how long operations are doing, and stopping them.

use model::{ByteCount, Code, Progress, Refusal, Task, TaskId, TaskStatus};

use crate::Blocks;

impl Blocks {
    /// A task by the id its caller drew; none when it was never admitted.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, Refusal> {
        let Some(mut task) = self.shared.catalog.get::<Task>(&id).await? else { return Ok(None) };
        if task.status == TaskStatus::Running
            && let Some(moved) = self.shared.moved(id)
        {
            task.progress = Progress::of(moved.done, moved.total);
            task.bytes_total = ByteCount(moved.total);
            task.bytes_read = ByteCount(moved.read);
            task.bytes_stored = ByteCount(moved.stored);
        }
        Ok(Some(task))
    }

    /// Asks a task to stop. What it did is undone, unless it has committed already.
    pub async fn cancel(&self, id: TaskId) -> Result<(), Refusal> {
        if self.runner.cancel(&id.to_string()).await? {
            self.set_off(id);
            return Ok(());
        }
        match self.task(id).await? {
            // It ended first: nothing to stop.
            Some(_) => Ok(()),
            None => Err(Refusal::new(Code::JobNotFound, format!("there is no task {id}"))),
        }
    }
}
