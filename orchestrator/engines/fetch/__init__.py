"""What engines that load files share: where sources lie in the cache, and what is made of them there."""
