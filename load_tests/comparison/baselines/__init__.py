"""What the platform is measured against, each as a competent engineer would write it."""
