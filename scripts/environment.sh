# Sourced by bash, from the repository root: `. scripts/environment.sh demo|test|jazzy`. Enters the environment that
# scripts/bootstrap made: Python, ROS 2, this package, and DDS set up for large images on this machine only.
unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONPATH COLCON_PREFIX_PATH
export VIRTUAL_ENV=$PWD/.venv-$1
export PATH=$VIRTUAL_ENV/bin:$PATH AMENT_PREFIX_PATH=$VIRTUAL_ENV
set +u # colcon's script reads variables that need not be set
# shellcheck disable=SC1090
. "$PWD/.ros/$1/install/local_setup.sh"
set -u
# Stay on this machine, and out of the way of other ROS programs on it.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=${UNIREF_DOMAIN_ID:-$(scripts/quiet-domain)}
# See ros_env/README.md, "Large images".
unset FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE
case $1 in # Kilted warns of the name that it had before
  jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/ros_env/fastdds_shm.xml ;;
  *) export FASTDDS_DEFAULT_PROFILES_FILE=$PWD/ros_env/fastdds_shm.xml ;;
esac
export MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864 MALLOC_ARENA_MAX=2
